"""The outside, one party a package, and our books in SQL."""
