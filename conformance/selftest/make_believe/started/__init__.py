"""Modules that a program imports in place of the real libraries if this folder is on ``PYTHONPATH``."""
