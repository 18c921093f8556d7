"""CUDA kernels: the formulas as device functions."""
