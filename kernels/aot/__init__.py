"""Ahead-of-time kernels: one engine, and tables of kernels built once per instruction set."""
