"""The chaos rig: a whole site under seeded faults, and an offline checker over what its clients saw.

``python -m tests.chaos --help`` runs it for as long as one likes; docs/chaos.md says how.
"""
