"""Processes and wiring: the worker, the relay, the embedded stack, the command line `oms`."""
