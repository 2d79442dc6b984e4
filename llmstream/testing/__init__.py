"""What a site's own tests need: scripted models, an engine, contracts for providers, checks of a deployment.

Nothing is imported here: the pytest plugin is loaded before Django has been set up.
"""
