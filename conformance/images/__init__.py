"""The images of cells: one recipe, a key for each, and nothing built twice. Never imported inside a cell."""
