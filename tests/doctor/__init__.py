"""What ``llmstream_doctor`` finds without a server; with servers and proxies: tests/live/test_doctor.py."""
