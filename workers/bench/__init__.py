"""Benchmarks: what the product does on this machine, beside the floor of the same run."""
