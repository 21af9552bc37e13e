"""Conformance tests for array interchange between GPU libraries in Python."""

__version__ = "0.1.0"
