"""Single effects that may be repeated."""
