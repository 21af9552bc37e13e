"""Engines that run cells: the current environment, virtual environments, and containers. Never imported inside a cell."""
