"""Parts that need another package, each an app of its own."""
