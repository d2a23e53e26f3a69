// Matrix products of quantised weights and quantised activations. As kernels.cpp, compiled for each instruction set.
#include "quantized.h"

#include "byte_panel.h"

namespace nextword {
namespace NEXTWORD_ISA {

namespace {

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
  if constexpr (minima_of(FORMAT) == 2) {
    for (int half = 0; half < 2; ++half)
      value = value + scales.minimum[half] * set_floats(x.scales[at] * float(x.half_sums[2 * at + half]));
  } else if constexpr (Meaning<FORMAT>::MINIMA) {
    value = value + scales.minimum[0] * set_floats(x.sums[at]);
  }
  return value;
}

/// For so many tokens decoding weights into a panel does not pay: tiles of four are nearly as fast without.
template <Format FORMAT>
constexpr int64_t few(ActivationFormat activations) {
  return activations == ActivationFormat::INT8 || Meaning<FORMAT>::HALVES ? 8 : 16;
}

/// 16 rows x TOKENS outputs over all blocks. So many of the group's vectors at once as registers hold the sums of.
template <Format FORMAT, int TOKENS>
NOINLINE void group_tile(const uint8_t* group, const QuantizedActivations& x, int64_t token, int64_t row,
                         const Output& output) {
  using M = Meaning<FORMAT>;
  constexpr bool IN_PLACE = FOUR_BITS<FORMAT> && TOKENS <= 2;
  constexpr int SUMS = IN_PLACE ? 3 : M::HALVES ? 2 : 1, TOGETHER = min(PARTS, max(1, TILE_SUMS / TOKENS));
  alignas(64) float values[TOKENS][ROW_GROUP] = {};
  for_each_block<FORMAT>(group, 0, x.blocks, [&](const uint8_t* head, const uint8_t* block, int64_t b) {
    const int16_t* columns = x.codes + (token * x.blocks + b) * BLOCK;
    const int64_t stride = x.blocks * BLOCK;
    for (int64_t at = 0; at < M::BLOCK_BYTES; at += 64) prefetch(block + at + PREFETCH_BYTES);
    for (int64_t part = 0; part < PARTS; part += TOGETHER) {
      Sum sums[SUMS][TOGETHER][TOKENS];
      for (int s = 0; s < SUMS; ++s)
        for (int p = 0; p < TOGETHER; ++p)
          for (int t = 0; t < TOKENS; ++t) sums[s][p][t] = zero_sum();
      repeat<4>([&](auto word) {
        constexpr int J = decltype(word)::value;
        using Codes = PairCodes<FORMAT, J>;
        Codes codes[TOGETHER];
        for (int p = 0; p < TOGETHER; ++p) codes[p] = Codes(block + M::SCALE_BYTES + 4 * LANES * (part + p));
        repeat<4>([&](auto index) {
          constexpr int I = decltype(index)::value;
          constexpr int S = IN_PLACE ? I % 3 : M::HALVES ? I / 2 : 0;
          Words pairs[TOGETHER];
          for (int p = 0; p < TOGETHER; ++p) pairs[p] = codes[p].template pair<I, IN_PLACE>(), fence(pairs[p]);
          for (int t = 0; t < TOKENS; ++t) {
            const Words pair = set_pair(columns + t * stride + 4 * J + I / 2 * 16 + I % 2 * 2);
            for (int p = 0; p < TOGETHER; ++p)
              multiply_add(sums[S][p][t], pairs[p], pair), fence_after<J>(sums[S][p][t]);
          }
        });
      });
      for (int p = 0; p < TOGETHER; ++p) {
        const int64_t r = (part + p) * LANES;
        const Scales<FORMAT> scales(head, block, r);
        for (int t = 0; t < TOKENS; ++t) {
          Words first = total(sums[0][p][t]), second{};
          if constexpr (IN_PLACE)
            first =
                first + (shift_right32_signed<8>(total(sums[1][p][t])) + shift_right32_signed<4>(total(sums[2][p][t])));
          else if constexpr (M::HALVES) second = total(sums[1][p][t]);
          const int64_t index = (token + t) * x.blocks + b;
          const Words sum = finish_sums<FORMAT>(first, second, scales, x.half_sums + 2 * index);
          store_floats(values[t] + r, add_block<FORMAT>(load_floats(values[t] + r), sum, scales, x, index));
        }
      }
    }
  });
  for (int t = 0; t < TOKENS; ++t) output.write(token + t, row, values[t]);
}

template <Format FORMAT>
void few_tokens(const Matrix& weights, int64_t first, int64_t last, const QuantizedActivations& x, int64_t tokens,
                const Output& output) {
  for (int64_t row = first; row < last; row += ROW_GROUP) {
    const uint8_t* group = weights.group(row / ROW_GROUP);
    int64_t t = 0;
    for (; t + 4 <= tokens; t += 4) group_tile<FORMAT, 4>(group, x, t, row, output);
    switch (tokens - t) {
      case 3: group_tile<FORMAT, 3>(group, x, t, row, output); break;
      case 2: group_tile<FORMAT, 2>(group, x, t, row, output); break;
      case 1: group_tile<FORMAT, 1>(group, x, t, row, output); break;
      default: break;
    }
  }
}

}  // namespace

void matmul_quantized(const Matrix& weights, int64_t first, int64_t last, const QuantizedActivations& x, int64_t tokens,
                      const float* bias, const float* addend, float* out, int64_t out_stride, void* scratch) {
  const Output output{bias, addend, out, out_stride, weights.rows};
  const auto run = [&](auto format) {
    constexpr Format FORMAT = decltype(format)::value;
    auto& panel = *static_cast<Panel*>(scratch);
    if (tokens <= few<FORMAT>(x.format)) return few_tokens<FORMAT>(weights, first, last, x, tokens, output);
#ifdef NEXTWORD_BYTES
    if constexpr (byte_sum_words<FORMAT>() > 0)
      if (x.format == ActivationFormat::INT8)
        return many_tokens<FORMAT, BytePanel>(weights, first, last, x, tokens, output, panel);
#endif
    many_tokens<FORMAT, PairPanel>(weights, first, last, x, tokens, output, panel);
  };
  for_quantized_format(weights.format, run);
}

}  // namespace NEXTWORD_ISA
}  // namespace nextword
