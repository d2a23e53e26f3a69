// Kernels of quantised weights and activations, of one instruction set: see the fields of `Kernels`.
#pragma once

#include "kernels.h"

namespace nextword {
namespace NEXTWORD_ISA {

void matmul_quantized(const Matrix& weights, int64_t first, int64_t last, const QuantizedActivations& x, int64_t tokens,
                      const float* bias, const float* addend, float* out, int64_t out_stride, void* scratch);

}  // namespace NEXTWORD_ISA
}  // namespace nextword
