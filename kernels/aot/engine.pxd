include "../_generated/include/fastloss/kernels/aot/engine.pxd"
