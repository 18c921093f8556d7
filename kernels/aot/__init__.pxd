from fastloss.kernels.aot.engine cimport *
