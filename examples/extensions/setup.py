"""python setup.py build_ext --inplace, with Cython, setuptools and fastloss installed."""

from Cython.Build import cythonize
from setuptools import Extension, setup

import fastloss

include = [fastloss.get_include()]
modules = cythonize([Extension("by_cython", ["by_cython.pyx"])], include_path=include)
modules.append(Extension("by_c", ["by_c.c"], include_dirs=include))
setup(name="scoring", ext_modules=modules)
