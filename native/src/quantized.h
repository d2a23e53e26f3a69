// Matrix products of quantised weights and quantised activations. Part of kernels.cpp: compiled for each instruction
// set.
#pragma once

#include "kernels.h"
#include "weights.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

// -- activations ------------------------------------------------------------------------------------------------------

/// Blocks first <= b < last of one token, whose numbers begin at `x`; formats.h says what becomes of them.
void quantize(const float* x, int64_t first, int64_t last, const QuantizedActivations& out, int64_t token) {
  constexpr float MAGIC = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to whole numbers, ties to even
  const float most = out.format == ActivationFormat::INT16 ? 16383.0f : 127.0f;
  for (int64_t b = first; b < last; ++b) {
    const float* in = x + b * BLOCK;
    const int64_t at = token * out.blocks + b;
    int32_t bits[BLOCK], greatest = 0, sums[2] = {0, 0};
    memcpy(bits, in, sizeof bits);
    for (int i = 0; i < BLOCK; ++i) {
      const int32_t size = bits[i] & 0x7fffffff;  // grows with |x|; infinity and NaN are above all numbers
      greatest = size > greatest ? size : greatest;
    }
    const float size = fp32_from_bits(uint32_t(greatest));
    const bool finite = greatest < 0x7f800000, any = finite && size >= 1e-30f;
    const float inverse = any ? most / size : 0.0f;
    int16_t codes[BLOCK];
    for (int i = 0; i < BLOCK; ++i) {
      const float shifted = (any ? in[i] : 0.0f) * inverse + MAGIC;
      int32_t code;
      memcpy(&code, &shifted, sizeof code);
      codes[i] = int16_t(code - 0x4b400000);  // the bits of MAGIC
    }
    for (int i = 0; i < BLOCK; ++i) sums[i / 16] += codes[i];
    for (int i = 0; i < BLOCK; i += 4) {
      int16_t* word = out.codes + at * BLOCK + i;
      word[0] = codes[i], word[1] = codes[i + 2], word[2] = codes[i + 1], word[3] = codes[i + 3];
    }
    if (out.format == ActivationFormat::INT8)
      for (int i = 0; i < BLOCK; ++i) out.bytes[at * BLOCK + i] = int8_t(codes[i]);
    const float scale = !finite ? NAN : any ? size / most : 0.0f;
    out.scales[at] = scale, out.sums[at] = scale * float(sums[0] + sums[1]);
    out.half_sums[2 * at] = sums[0], out.half_sums[2 * at + 1] = sums[1];
  }
}

// -- products ---------------------------------------------------------------------------------------------------------

/// What comes of 16 rows of a token: value + bias + addend.
struct QuantizedOutput {
  const float *bias, *addend;
  float* out;
  int64_t stride, rows;  // of the matrix: the last group may have fewer than 16

  void write(int64_t token, int64_t row, const float* values) const {
    const int64_t index = token * stride + row, count = min(ROW_GROUP, rows - row);
    for (int64_t r = 0; r < count; ++r) {
      float value = values[r];
      if (bias) value += bias[row + r];
      if (addend) value += addend[index + r];
      out[index + r] = value;
    }
  }
};

/// The exact sums of a block, weight codes x activation codes of one token, with offsets taken off and factors in.
template <Format FORMAT>
inline Words finish_sums(Words first, Words second, const Scales<FORMAT>& scales, const int32_t* half_sums) {
  using M = Meaning<FORMAT>;
  if constexpr (M::HALVES) {
    if constexpr (M::OFFSET != 0) {
      first = first - set_words(M::OFFSET * half_sums[0]);
      second = second - set_words(M::OFFSET * half_sums[1]);
    }
    return first * scales.factors[0] + second * scales.factors[1];
  } else if constexpr (M::OFFSET != 0) {
    return first - set_words(M::OFFSET * (half_sums[0] + half_sums[1]));
  } else {
    return first;
  }
}

/// What a block adds to an output of a token.
template <Format FORMAT>
inline Floats add_block(Floats value, Words sum, const Scales<FORMAT>& scales, const QuantizedActivations& x,
                        int64_t at) {
  value = value + (scales.scale * set_floats(x.scales[at])) * to_floats(sum);
  if constexpr (FORMAT == Format::Q2_K) {
    for (int half = 0; half < 2; ++half)
      value = value + scales.minimum[half] * set_floats(x.scales[at] * float(x.half_sums[2 * at + half]));
  } else if constexpr (Meaning<FORMAT>::MINIMA) {
    value = value + scales.minimum[0] * set_floats(x.sums[at]);
  }
  return value;
}

/// 16 rows x TOKENS outputs over all blocks.
template <Format FORMAT, int TOKENS>
inline void group_tile(const uint8_t* group, const QuantizedActivations& x, int64_t token, int64_t row,
                       const QuantizedOutput& output) {
  using M = Meaning<FORMAT>;
  alignas(64) float values[TOKENS][ROW_GROUP] = {};
  for_each_block<FORMAT>(group, 0, x.blocks, [&](const uint8_t* head, const uint8_t* block, int64_t b) {
    for (int64_t r = 0; r < ROW_GROUP; r += LANES) {
      const Scales<FORMAT> scales(head, block, r);
      Sum sums[2][TOKENS];  // the second for the last 16 columns, where they have factors of their own
      for (int t = 0; t < TOKENS; ++t) sums[0][t] = sums[1][t] = zero_sum();
      const auto words = [&](auto j) {
        constexpr int J = decltype(j)::value;
        Words pairs[4];
        pair_codes<FORMAT, J>(block + M::SCALE_BYTES + 4 * r, pairs);
        for (int t = 0; t < TOKENS; ++t) {
          const int16_t* columns = x.codes + ((token + t) * x.blocks + b) * BLOCK + 4 * J;
          for (int i = 0; i < 4; ++i)
            multiply_add(sums[M::HALVES ? i / 2 : 0][t], pairs[i], set_pair(columns + i / 2 * 16 + i % 2 * 2));
        }
      };
      words(Index<0>()), words(Index<1>()), words(Index<2>()), words(Index<3>());
      for (int t = 0; t < TOKENS; ++t) {
        const int64_t at = (token + t) * x.blocks + b;
        const Words sum = finish_sums<FORMAT>(total(sums[0][t]), total(sums[1][t]), scales, x.half_sums + 2 * at);
        store_floats(values[t] + r, add_block<FORMAT>(load_floats(values[t] + r), sum, scales, x, at));
      }
    }
  });
  for (int t = 0; t < TOKENS; ++t) output.write(token + t, row, values[t]);
}

template <Format FORMAT>
void matmul_quantized_format(const Matrix& weights, int64_t first, int64_t last, const QuantizedActivations& x,
                             int64_t tokens, const QuantizedOutput& output) {
  for (int64_t row = first; row < last; row += ROW_GROUP) {
    const uint8_t* group = weights.group(row / ROW_GROUP);
    int64_t t = 0;
    for (; t + 4 <= tokens; t += 4) group_tile<FORMAT, 4>(group, x, t, row, output);
    for (; t < tokens; ++t) group_tile<FORMAT, 1>(group, x, t, row, output);
  }
}

void matmul_quantized(const Matrix& weights, int64_t first, int64_t last, const QuantizedActivations& x, int64_t tokens,
                      const float* bias, const float* addend, float* out, int64_t out_stride, void* scratch) {
  (void)scratch;
  const QuantizedOutput output{bias, addend, out, out_stride, weights.rows};
  const auto run = [&](auto format) {
    matmul_quantized_format<decltype(format)::value>(weights, first, last, x, tokens, output);
  };
  for_quantized_format(weights.format, run);
}

/// One row of a packed quantised matrix as float32, padded to whole blocks.
void dequantize_packed_row(const Matrix& weights, int64_t row, float* out) {
  const auto run = [&](auto format) {
    constexpr Format FORMAT = decltype(format)::value;
    const uint8_t* group = weights.group(row / ROW_GROUP);
    for_each_block<FORMAT>(group, 0, weights.blocks(), [&](const uint8_t* head, const uint8_t* block, int64_t b) {
      float values[BLOCK * ROW_GROUP];
      dequantize_block<FORMAT>(head, block, values);
      for (int64_t i = 0; i < BLOCK; ++i) out[b * BLOCK + i] = values[i * ROW_GROUP + row % ROW_GROUP];
    });
  };
  for_quantized_format(weights.format, run);
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
