"""Speed and accuracy of fastloss beside NumPy, SciPy, scikit-learn and torch.

python -m bench             interleaved pairs in one process, after the answers were compared
python -m bench.accuracy    maximum and mean error in ULP against high precision
python -m bench.vectorised  what gcc's vectoriser says of the kernels' loops
pytest bench                single functions, recorded by pytest-benchmark (--benchmark-json=FILE)
"""
