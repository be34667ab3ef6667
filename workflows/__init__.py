"""Durable processes, one a file. No imports here: the sandbox runs this again for each run."""
