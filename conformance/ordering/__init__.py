"""Checks of stream order: latches, controls, blame, and the operations that they observe."""
