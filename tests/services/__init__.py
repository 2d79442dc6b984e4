"""The servers that the tests start themselves do what the tests rely on."""
