"""An index for the admin's search over messages, on PostgreSQL."""
