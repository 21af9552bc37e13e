"""Where cells run: this environment, one made from the lock, or a container. Never imported inside a cell."""
