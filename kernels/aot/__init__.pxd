from fastloss.kernels.aot.engine cimport softmax_f32, log_softmax_f32, logsumexp_f32, cross_entropy_f32, softmax_f64, log_softmax_f64, logsumexp_f64, cross_entropy_f64
