"""What a program imports in place of the real libraries where this folder is on ``PYTHONPATH``."""
