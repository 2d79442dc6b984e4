"""The demo site in a real browser."""
