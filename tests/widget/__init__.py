"""The chat widget and its template tags."""
