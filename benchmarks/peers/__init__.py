"""What llmstream is measured against: one small server a file, each the plain way to do it with its framework."""
