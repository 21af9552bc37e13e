"""The machinery of the invariants: the catalogue, arrays, exchanges, judgements, and child processes."""
