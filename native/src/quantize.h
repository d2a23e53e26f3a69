// Activations rounded to integers, 32 columns with a scale of their own. Part of kernels.cpp: compiled for each
// instruction set.
#pragma once

#include <math.h>

#include "integer_simd.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

/// Blocks first <= b < last of one token, whose numbers begin at `x`; formats.h says what becomes of them.
void quantize(const float* x, int64_t first, int64_t last, const QuantizedActivations& out, int64_t token) {
  constexpr int VECTORS = BLOCK / LANES;
  const Floats magic = set_floats(12582912.0f);  // 1.5 * 2^23: what it is added to becomes whole, ties to even
  const float most = out.format == ActivationFormat::INT16 ? 16383.0f : 127.0f;
  for (int64_t b = first; b < last; ++b) {
    const float* in = x + b * BLOCK;
    const int64_t at = token * out.blocks + b;
    Words greatest = set_words(0);
    for (int v = 0; v < VECTORS; ++v)  // bits of |x| grow with it; infinity and NaN are above all numbers
      greatest = max(greatest, bits_of(load_floats(in + v * LANES)) & set_words(0x7fffffff));
    const float size = fp32_from_bits(uint32_t(reduce_max(greatest)));
    const bool finite = size < INFINITY, any = finite && size >= 1e-30f;
    const Floats inverse = set_floats(any ? most / size : 0.0f);
    alignas(64) int32_t codes[BLOCK];
    Words sums[2] = {set_words(0), set_words(0)};
    for (int v = 0; v < VECTORS; ++v) {
      const Words code = any ? bits_of(load_floats(in + v * LANES) * inverse + magic) - bits_of(magic) : set_words(0);
      store_words(codes + v * LANES, code);
      sums[v * LANES / 16] = sums[v * LANES / 16] + code;
    }
    // Columns 0 and 2, then 1 and 3 of four. Two codes are moved at a time: left alone, GCC takes vectors apart for
    // that.
    asm("" : "+m"(codes));
    for (int i = 0; i < BLOCK; i += 4) {
      uint64_t even, odd;
      memcpy(&even, codes + i, sizeof even), memcpy(&odd, codes + i + 2, sizeof odd);
      const uint64_t both = (even & 0x0000ffff0000ffff) | (odd << 16 & 0xffff0000ffff0000);
      memcpy(out.codes + at * BLOCK + i, &both, sizeof both);
    }
    if (out.format == ActivationFormat::INT8) {
      int8_t bytes[BLOCK];
      for (int i = 0; i < BLOCK; ++i) bytes[i] = int8_t(codes[i]);
      memcpy(out.bytes + at * BLOCK, bytes, sizeof bytes);
    }
    const int32_t half_sums[2] = {reduce_add(sums[0]), reduce_add(sums[1])};
    const float scale = !finite ? NAN : any ? size / most : 0.0f;
    out.scales[at] = scale, out.sums[at] = scale * float(half_sums[0] + half_sums[1]);
    out.half_sums[2 * at] = half_sums[0], out.half_sums[2 * at + 1] = half_sums[1];
  }
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
