"""``import pycuda`` in a program that a case has started."""
