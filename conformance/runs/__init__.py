"""Runs as data: run files, reading, merging, and whether their results can be trusted."""
