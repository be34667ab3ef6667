"""Durable processes, one a file. This file stays empty of imports: the sandbox runs it again for each run."""
