"""Side by side measurements of llmstream and its peers: ``python -m benchmarks --help``."""
