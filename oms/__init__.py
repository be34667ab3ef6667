"""The business: pure functions and frozen models. No I/O, no clock, no framework but Pydantic."""
