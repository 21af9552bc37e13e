"""Make-believe CuPy, PyTorch, PyCUDA, CV-CUDA and CUDA Python on host memory: flawless, and a fault replaces one of their calls.

They have the calls that the libraries' pages show, and streams for what the pages promise of those.
"""
