"""What is kept of ended conversations, and for how long: compaction, pruning, legal hold, erasure."""
