"""From matrix.yaml to cells, and from cells to locks. Runs outside the cells and is never imported in one."""
