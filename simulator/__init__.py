"""The outside world to try against: a payment provider, carriers, nodes and their customers.

A process of its own with its own books. It shares nothing with the product but wire formats,
which stand in docs/simulator.md.
"""
