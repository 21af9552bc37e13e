"""Cells of matrix.yaml and their lock files. Runs outside the cells and is never imported in one."""
