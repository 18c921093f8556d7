"""All of the maths: formulas, their generator, and the kernels of each backend."""
