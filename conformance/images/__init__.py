"""Container images of cells. Each image has a key that is derived from its content, so no image is built twice. Never imported inside a cell."""
