"""Runs as data: the run file, reading, merging, and the trust in their results."""
