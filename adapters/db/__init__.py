"""Our books in PostgreSQL."""
