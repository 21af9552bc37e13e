"""Machinery of the invariants: the catalogue, arrays, exchanges, checks of results, and child processes."""
