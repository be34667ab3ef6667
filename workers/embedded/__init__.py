"""PostgreSQL and Temporal on one machine, with nothing prepared."""
