"""What ``llmstream_doctor`` looks at, a module for each part of a site; every check yields verdicts."""
