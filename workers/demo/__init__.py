"""The demonstration: a retailer, its orders, and a run that watches them to their end."""
