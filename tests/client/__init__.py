"""The JavaScript client in a real browser."""
