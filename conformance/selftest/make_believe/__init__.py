"""Simulated CuPy, PyTorch, PyCUDA, CV-CUDA and CUDA Python on host memory. They are flawless, and a fault replaces one of their calls.

They have the calls that the libraries' documentation pages show, and streams for the promises about those.
"""
