// Panels of bytes, for activations of eight bits: twice the products an instruction, where a processor has such ones.
#pragma once

#include "panel.h"

#ifdef NEXTWORD_BYTES

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

/// Bytes as weights, for activations of eight bits: how many words' products a sum holds before it is scaled. Sums of
/// 16 bits never overflow: words x 2 products x the largest code x 127 <= 32767.
template <Format FORMAT>
constexpr int byte_sum_words() {
#ifdef NEXTWORD_AVX512VNNI
  return Meaning<FORMAT>::HALVES ? 4 : 8;
#else
  // Computed with 16 bits: bytes that are not unsigned, as the instruction needs them; two words a sum gain nothing.
  if (Meaning<FORMAT>::SIGNED || FORMAT == Format::Q6_K) return 0;
  return FOUR_BITS<FORMAT> ? 8 : 4;
#endif
}

/// As fill_panel, with codes as unsigned bytes: offsets and factors stand beside them.
template <Format FORMAT>
NOINLINE void fill_byte_panel(const uint8_t* group, int64_t first, int64_t last, int64_t index, Panel& panel) {
  using M = Meaning<FORMAT>;
  for_each_block<FORMAT>(group, first, last, [&](const uint8_t* head, const uint8_t* block, int64_t b) {
    for (int64_t at = 0; at < M::BLOCK_BYTES; at += 64) prefetch(block + at + PREFETCH_BYTES);
    for (int64_t r = 0; r < ROW_GROUP; r += LANES) {
      const Scales<FORMAT> scales(head, block, r);
      store_floats(panel.scales[b - first][index] + r, scales.scale);
      if constexpr (M::MINIMA) store_floats(panel.minima[b - first][0][index] + r, scales.minimum[0]);
      if constexpr (minima_of(FORMAT) == 2) store_floats(panel.minima[b - first][1][index] + r, scales.minimum[1]);
      if constexpr (M::HALVES) {
        for (int half = 0; half < 2; ++half)
          store_words(panel.factors[b - first][half][index] + r, as_factor(scales.factors[half]));
        const Words pairs = (scales.factors[0] & set_words(0xffff)) | (scales.factors[1] * set_words(0x10000));
        store_words(panel.factors[b - first][2][index] + r, multiply16(pairs, set_words(M::OFFSET * 0x10001)));
      }
      repeat<4>([&](auto word) {
        constexpr int J = decltype(word)::value;
        Words bytes[2];
        byte_codes<FORMAT, J>(block + M::SCALE_BYTES + 4 * r, bytes);
        uint8_t* to = (&panel.codes[0][0][index][0]) + (b - first) * 8 * PANEL_GROUPS * VECTOR_BYTES + 4 * r;
        for (int i = 0; i < 2; ++i) {
          if constexpr (M::SIGNED) bytes[i] = bytes[i] ^ set_words(int32_t(0x80808080));
          store_words(to + (J + 4 * i) * PANEL_GROUPS * VECTOR_BYTES, bytes[i]);
        }
      });
    }
  });
}

template <int WORDS, bool FACTORS, int OFFSET, int MINIMA, int VECTORS, int TOKENS>
NOINLINE void byte_panel_tile(Panel& panel, int64_t vector, int64_t first, int64_t blocks,
                              const QuantizedActivations& x, int64_t token, float* strip) {
  PanelTile<MINIMA, VECTORS, TOKENS> tile(panel, vector, first, x, token, strip);
  const Words one = as_factor(set_words(1));
  for (int64_t b = 0; b < blocks; ++b) {
    const int8_t* columns = x.bytes + tile.block(0, b) * BLOCK;
    const uint8_t* codes = panel.codes[0][0][0] + b * 8 * PANEL_GROUPS * VECTOR_BYTES + 4 * LANES * vector;
    Words totals[VECTORS][TOKENS];
    repeat<8 / WORDS>([&](auto part) {
      constexpr int PART = decltype(part)::value;
      ByteSum sums[VECTORS][TOKENS];
      for (int v = 0; v < VECTORS; ++v)
        for (int t = 0; t < TOKENS; ++t) sums[v][t] = zero_byte_sum();
      repeat<WORDS>([&](auto word) {
        constexpr int I = decltype(word)::value, J = PART * WORDS + I;
        Words weights[VECTORS];
        for (int v = 0; v < VECTORS; ++v)
          weights[v] = load_words(codes + J * PANEL_GROUPS * VECTOR_BYTES + v * 4 * LANES), fence(weights[v]);
        for (int t = 0; t < TOKENS; ++t) {
          const Words four = set_pair(columns + t * x.blocks * BLOCK + 4 * J);
          for (int v = 0; v < VECTORS; ++v) multiply_add(sums[v][t], weights[v], four), fence_after<I>(sums[v][t]);
        }
      });
      for (int v = 0; v < VECTORS; ++v) {
        const Words factor = FACTORS ? load_words(tile.rows(panel.factors[b][PART * WORDS / 4][0], v)) : one;
        for (int t = 0; t < TOKENS; ++t) {
          const Words sum = FACTORS || !WIDE_BYTE_SUMS ? scaled(sums[v][t], factor) : Words{sums[v][t].v};
          totals[v][t] = PART ? totals[v][t] + sum : sum;
        }
      }
    });
    for (int t = 0; t < TOKENS; ++t) {
      const int32_t* half_sums = x.half_sums + 2 * tile.block(t, b);
      for (int v = 0; v < VECTORS; ++v) {
        Words sum = totals[v][t];
        if constexpr (OFFSET != 0 && FACTORS) {
          Sum offset = zero_sum();
          multiply_add(offset, load_words(tile.rows(panel.factors[b][2][0], v)),
                       set_words((half_sums[0] & 0xffff) | int32_t(uint32_t(half_sums[1]) << 16)));
          sum = sum - total(offset);
        } else if constexpr (OFFSET != 0) {
          sum = sum - set_words(OFFSET * (half_sums[0] + half_sums[1]));
        }
        tile.add(b, t, v, sum);
      }
    }
  }
  tile.finish();
}

struct BytePanel {
  template <Format FORMAT>
  static void fill(const uint8_t* group, int64_t first, int64_t last, int64_t index, Panel& panel) {
    fill_byte_panel<FORMAT>(group, first, last, index, panel);
  }
  template <Format FORMAT, int TOKENS>
  static void tile(Panel& panel, int64_t vector, int64_t first, int64_t blocks, const QuantizedActivations& x,
                   int64_t token, float* strip) {
    using M = Meaning<FORMAT>;
    byte_panel_tile<byte_sum_words<FORMAT>(), M::HALVES, M::SIGNED ? 128 : M::OFFSET, minima_of(FORMAT),
                    PANEL_TILE_VECTORS, TOKENS>(panel, vector, first, blocks, x, token, strip);
  }
};

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword

#endif
