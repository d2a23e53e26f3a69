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

// -- products: few tokens
// ---------------------------------------------------------------------------------------------------------

/// What comes of 16 rows of a token: value + bias + addend.
struct QuantizedOutput {
  const float *bias, *addend;
  float* out;
  int64_t stride, rows;  // of the matrix: the last group may have fewer than 16

  void write(int64_t token, int64_t row, const float* values) const {
    const int64_t index = token * stride + row, count = min(ROW_GROUP, rows - row);
    if (count == ROW_GROUP) {
      for (int64_t r = 0; r < ROW_GROUP; r += LANES) {
        Floats value = load_floats(values + r);
        if (bias) value = value + load_floats(bias + row + r);
        if (addend) value = value + load_floats(addend + index + r);
        store_floats(out + index + r, value);
      }
    } else {
      for (int64_t r = 0; r < count; ++r) {
        float value = values[r];
        if (bias) value += bias[row + r];
        if (addend) value += addend[index + r];
        out[index + r] = value;
      }
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

constexpr int64_t FEW_TOKENS = 4;         // for which decoding weights into a panel does not pay
constexpr int64_t PREFETCH_BYTES = 2048;  // between the weights in use and those called for

/// 16 rows x TOKENS outputs over all blocks. So many of the group's vectors at once as registers hold the sums of.
template <Format FORMAT, int TOKENS>
NOINLINE void group_tile(const uint8_t* group, const QuantizedActivations& x, int64_t token, int64_t row,
                         const QuantizedOutput& output) {
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
            for (int p = 0; p < TOGETHER; ++p) multiply_add(sums[S][p][t], pairs[p], pair), fence(sums[S][p][t]);
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
                const QuantizedOutput& output) {
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

// -- products: many tokens --------------------------------------------------------------------------------------------

constexpr int64_t PANEL_BLOCKS = 18 / PANEL_GROUPS;  // that stay in the first-level cache with what meets them
constexpr int64_t STRIP_ROWS = 64, STRIP_TOKENS = 256;
constexpr int PANEL_VECTORS = PANEL_GROUPS * PARTS;

/// Some blocks of some row groups as 16-bit weights, offsets taken off and factors of 16 columns multiplied in: the
/// same for every format. And what waits for the blocks that follow.
struct Panel {
  alignas(64) uint8_t codes[PANEL_BLOCKS][16][PANEL_GROUPS][VECTOR_BYTES];  // a vector for each pair of columns
  alignas(64) float scales[PANEL_BLOCKS][PANEL_GROUPS][ROW_GROUP];
  alignas(64) float minima[PANEL_BLOCKS][2][PANEL_GROUPS][ROW_GROUP];
  alignas(64) float values[STRIP_TOKENS][STRIP_ROWS];
};
static_assert(sizeof(Panel) <= PANEL_BYTES);

/// Blocks first <= b < last of a row group, which becomes the `index`th of the panel.
template <Format FORMAT>
NOINLINE void fill_panel(const uint8_t* group, int64_t first, int64_t last, int64_t index, Panel& panel) {
  using M = Meaning<FORMAT>;
  for_each_block<FORMAT>(group, first, last, [&](const uint8_t* head, const uint8_t* block, int64_t b) {
    for (int64_t at = 0; at < M::BLOCK_BYTES; at += 64) prefetch(block + at + PREFETCH_BYTES);
    for (int64_t r = 0; r < ROW_GROUP; r += LANES) {
      const Scales<FORMAT> scales(head, block, r);
      store_floats(panel.scales[b - first][index] + r, scales.scale);
      if constexpr (M::MINIMA) store_floats(panel.minima[b - first][0][index] + r, scales.minimum[0]);
      if constexpr (FORMAT == Format::Q2_K) store_floats(panel.minima[b - first][1][index] + r, scales.minimum[1]);
      repeat<4>([&](auto word) {
        constexpr int J = decltype(word)::value;
        const PairCodes<FORMAT, J> codes(block + M::SCALE_BYTES + 4 * r);
        repeat<4>([&](auto pair) {
          constexpr int I = decltype(pair)::value;
          Words code = codes.template pair<I>();
          if constexpr (M::OFFSET != 0) code = subtract16(code, set_words(M::OFFSET * 0x10001));
          if constexpr (M::HALVES)
            code = multiply16(code, (scales.factors[I / 2] & set_words(0xffff)) * set_words(0x10001));
          store_words(panel.codes[b - first][2 * J + I / 2 * 8 + I % 2][index] + 4 * r, code);
        });
      });
    }
  });
}

/// VECTORS of the panel's rows x TOKENS, over its blocks; adds to panel.values unless these are the first blocks.
template <int MINIMA, int VECTORS, int TOKENS>
NOINLINE void panel_tile(Panel& panel, int64_t vector, int64_t first, int64_t last, const QuantizedActivations& x,
                         int64_t token, int64_t strip_token, int64_t strip_row) {
  alignas(64) float values[VECTORS][TOKENS][LANES];
  float* rows = panel.values[strip_token] + strip_row + vector * LANES;
  for (int v = 0; v < VECTORS; ++v)
    for (int t = 0; t < TOKENS; ++t)
      store_floats(values[v][t], first ? load_floats(rows + t * STRIP_ROWS + v * LANES) : set_floats(0));
  const int64_t index = token * x.blocks + first, stride = x.blocks;
  const int16_t* columns = x.codes + index * BLOCK;
  const uint8_t* codes = panel.codes[0][0][0] + 4 * LANES * vector;
  const float *scales = panel.scales[0][0] + LANES * vector, *minima = panel.minima[0][0][0] + LANES * vector;
  for (int64_t b = 0; b < last - first; ++b, columns += BLOCK) {
    Sum sums[VECTORS][TOKENS];
    for (int v = 0; v < VECTORS; ++v)
      for (int t = 0; t < TOKENS; ++t) sums[v][t] = zero_sum();
    repeat<16>([&](auto number) {
      constexpr int I = decltype(number)::value;
      Words weights[VECTORS];
      for (int v = 0; v < VECTORS; ++v)
        weights[v] = load_words(codes + I * PANEL_GROUPS * VECTOR_BYTES + v * 4 * LANES), fence(weights[v]);
      for (int t = 0; t < TOKENS; ++t) {
        const Words pair = set_pair(columns + t * stride * BLOCK + 2 * I);
        for (int v = 0; v < VECTORS; ++v) multiply_add(sums[v][t], weights[v], pair), fence(sums[v][t]);
      }
    });
    for (int t = 0; t < TOKENS; ++t) {
      const int64_t at = index + t * stride + b;
      const Floats scale = set_floats(x.scales[at]);
      for (int v = 0; v < VECTORS; ++v) {
        Floats value = load_floats(values[v][t]);
        value = value + (load_floats(scales + v * LANES) * scale) * to_floats(total(sums[v][t]));
        if constexpr (MINIMA == 1) value = value + load_floats(minima + v * LANES) * set_floats(x.sums[at]);
        if constexpr (MINIMA == 2)
          for (int half = 0; half < 2; ++half)
            value = value + load_floats(minima + half * PANEL_GROUPS * ROW_GROUP + v * LANES) *
                                set_floats(x.scales[at] * float(x.half_sums[2 * at + half]));
        store_floats(values[v][t], value);
      }
    }
    codes += sizeof panel.codes[0], scales += PANEL_GROUPS * ROW_GROUP, minima += 2 * PANEL_GROUPS * ROW_GROUP;
  }
  for (int v = 0; v < VECTORS; ++v)
    for (int t = 0; t < TOKENS; ++t) store_floats(rows + t * STRIP_ROWS + v * LANES, load_floats(values[v][t]));
}

/// Columns are taken in pieces whose weights, decoded once for all tokens, stay in the first-level cache.
template <Format FORMAT>
void many_tokens(const Matrix& weights, int64_t first, int64_t last, const QuantizedActivations& x, int64_t tokens,
                 const QuantizedOutput& output, Panel& panel) {
  using M = Meaning<FORMAT>;
  constexpr int MINIMA = FORMAT == Format::Q2_K ? 2 : M::MINIMA ? 1 : 0;
  const int64_t pieces = (x.blocks + PANEL_BLOCKS - 1) / PANEL_BLOCKS;
  const int64_t piece = M::SUPER ? PANEL_BLOCKS / 8 * 8 : (x.blocks + pieces - 1) / pieces;
  for (int64_t from = 0; from < tokens; from += STRIP_TOKENS)
    for (int64_t strip = first; strip < last; strip += STRIP_ROWS) {
      const int64_t to = min(tokens, from + STRIP_TOKENS), end = min(last, strip + STRIP_ROWS);
      for (int64_t b = 0; b < x.blocks; b += piece) {
        const int64_t until = min(x.blocks, b + piece);
        for (int64_t row = strip; row < end; row += PANEL_GROUPS * ROW_GROUP) {
          for (int64_t g = 0; g < PANEL_GROUPS && row + g * ROW_GROUP < end; ++g)
            fill_panel<FORMAT>(weights.group(row / ROW_GROUP + g), b, until, g, panel);
          const auto tile = [&](auto count, int64_t t) {
            for (int64_t vector = 0; vector < PANEL_VECTORS; vector += PANEL_TILE_VECTORS)
              panel_tile<MINIMA, PANEL_TILE_VECTORS, decltype(count)::value>(panel, vector, b, until, x, t, t - from,
                                                                             row - strip);
          };
          int64_t t = from;
          for (; t + PANEL_TILE_TOKENS <= to; t += PANEL_TILE_TOKENS) tile(Index<PANEL_TILE_TOKENS>(), t);
          for (; t + 2 <= to; t += 2) tile(Index<2>(), t);
          for (; t < to; ++t) tile(Index<1>(), t);
        }
      }
      for (int64_t t = from; t < to; ++t)
        for (int64_t row = strip; row < end; row += ROW_GROUP)
          output.write(t, row, panel.values[t - from] + row - strip);
    }
}

void matmul_quantized(const Matrix& weights, int64_t first, int64_t last, const QuantizedActivations& x, int64_t tokens,
                      const float* bias, const float* addend, float* out, int64_t out_stride, void* scratch) {
  const QuantizedOutput output{bias, addend, out, out_stride, weights.rows};
  const auto run = [&](auto format) {
    constexpr Format FORMAT = decltype(format)::value;
    if (tokens <= FEW_TOKENS) few_tokens<FORMAT>(weights, first, last, x, tokens, output);
    else many_tokens<FORMAT>(weights, first, last, x, tokens, output, *static_cast<Panel*>(scratch));
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
