"""Explanations of invariants, clauses, families and cases, for readers who see a name for the first time."""
