"""Every formula, once, as plain Python; the language is described in kernels/generate.py."""
