"""What tools are to the generations that run them. Sites write theirs with ``llmstream.tools``."""
