// The architecture.
#pragma once

#include "kernels.h"

namespace nextword {

/// What of a GPTConfig decides the arithmetic; the names are the same.
struct Config {
  int64_t vocab_size, d_model, num_heads, num_kv_heads, head_dim, num_layers, d_ff, context_length;
  float norm_eps;
  Activation activation;
  bool rope_interleaved;     // rope_layout
  bool residual_normalized;  // residual == "normalized"
};

}  // namespace nextword
