// Products of quantised weights with many tokens: weights are decoded once, into a panel that stays in the cache.
#pragma once

#include "output.h"
#include "weights.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

constexpr int64_t PANEL_BLOCKS = 18 / PANEL_GROUPS;  // that stay in the first-level cache with what meets them
constexpr int64_t STRIP_ROWS = 64, STRIP_TOKENS = 256;
constexpr int PANEL_VECTORS = PANEL_GROUPS * PARTS;

/// Some blocks of some row groups as 16-bit weights, offsets taken off and factors of 16 columns multiplied in: the
/// same for every format. And what waits for the blocks that follow.
struct Panel {
  alignas(64) uint8_t codes[PANEL_BLOCKS][16][PANEL_GROUPS][VECTOR_BYTES];  // a vector for each pair of columns
  alignas(64) float scales[PANEL_BLOCKS][PANEL_GROUPS][ROW_GROUP];
  alignas(64) float minima[PANEL_BLOCKS][2][PANEL_GROUPS][ROW_GROUP];
  alignas(64) int32_t factors[PANEL_BLOCKS][3][PANEL_GROUPS][ROW_GROUP];  // of bytes only: of 16 columns each; offsets
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
      if constexpr (minima_of(FORMAT) == 2) store_floats(panel.minima[b - first][1][index] + r, scales.minimum[1]);
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

/// Where a tile of a panel stands, and the outputs that it has so far: VECTORS of rows x TOKENS.
template <int MINIMA, int VECTORS, int TOKENS>
struct PanelTile {
  const Panel& panel;
  const QuantizedActivations& x;
  int64_t vector, index;  // of the first rows; of the first token's first block
  float* out;
  alignas(64) float values[VECTORS][TOKENS][LANES];

  PanelTile(Panel& panel, int64_t vector, int64_t first, const QuantizedActivations& x, int64_t token, float* strip)
      : panel(panel), x(x), vector(vector), index(token * x.blocks + first), out(strip + vector * LANES) {
    for (int v = 0; v < VECTORS; ++v)
      for (int t = 0; t < TOKENS; ++t)
        store_floats(values[v][t], first ? load_floats(out + t * STRIP_ROWS + v * LANES) : set_floats(0));
  }

  int64_t block(int token, int64_t b) const { return index + token * x.blocks + b; }
  template <class Number>
  const Number* rows(const Number* numbers, int v) const {
    return numbers + (vector + v) * LANES;
  }

  /// Adds the sums of block `b`.
  INLINE void add(int64_t b, int t, int v, Words sum) {
    const int64_t at = block(t, b);
    const float* minima = rows(panel.minima[b][0][0], v);
    Floats value = load_floats(values[v][t]);
    value = value + (load_floats(rows(panel.scales[b][0], v)) * set_floats(x.scales[at])) * to_floats(sum);
    if constexpr (MINIMA == 1) value = value + load_floats(minima) * set_floats(x.sums[at]);
    if constexpr (MINIMA == 2)
      for (int half = 0; half < 2; ++half)
        value = value + load_floats(minima + half * PANEL_GROUPS * ROW_GROUP) *
                            set_floats(x.scales[at] * float(x.half_sums[2 * at + half]));
    store_floats(values[v][t], value);
  }

  void finish() {
    for (int v = 0; v < VECTORS; ++v)
      for (int t = 0; t < TOKENS; ++t) store_floats(out + t * STRIP_ROWS + v * LANES, load_floats(values[v][t]));
  }
};

/// A tile over `blocks` blocks, which begin at `first`; what earlier ones gave is in `strip`.
template <int MINIMA, int VECTORS, int TOKENS>
NOINLINE void panel_tile(Panel& panel, int64_t vector, int64_t first, int64_t blocks, const QuantizedActivations& x,
                         int64_t token, float* strip) {
  PanelTile<MINIMA, VECTORS, TOKENS> tile(panel, vector, first, x, token, strip);
  for (int64_t b = 0; b < blocks; ++b) {
    const int16_t* columns = x.codes + tile.block(0, b) * BLOCK;
    const uint8_t* codes = panel.codes[b][0][0] + 4 * LANES * vector;
    Sum sums[VECTORS][TOKENS];
    for (int v = 0; v < VECTORS; ++v)
      for (int t = 0; t < TOKENS; ++t) sums[v][t] = zero_sum();
    repeat<16>([&](auto number) {
      constexpr int I = decltype(number)::value;
      Words weights[VECTORS];
      for (int v = 0; v < VECTORS; ++v)
        weights[v] = load_words(codes + I * PANEL_GROUPS * VECTOR_BYTES + v * 4 * LANES), fence(weights[v]);
      for (int t = 0; t < TOKENS; ++t) {
        const Words pair = set_pair(columns + t * x.blocks * BLOCK + 2 * I);
        for (int v = 0; v < VECTORS; ++v) multiply_add(sums[v][t], weights[v], pair), fence_after<I>(sums[v][t]);
      }
    });
    for (int t = 0; t < TOKENS; ++t)
      for (int v = 0; v < VECTORS; ++v) tile.add(b, t, v, total(sums[v][t]));
  }
  tile.finish();
}

/// Weights as pairs of 16-bit numbers: what many_tokens works with.
struct PairPanel {
  template <Format FORMAT>
  static void fill(const uint8_t* group, int64_t first, int64_t last, int64_t index, Panel& panel) {
    fill_panel<FORMAT>(group, first, last, index, panel);
  }
  template <Format FORMAT, int TOKENS>
  static void tile(Panel& panel, int64_t vector, int64_t first, int64_t blocks, const QuantizedActivations& x,
                   int64_t token, float* strip) {
    panel_tile<minima_of(FORMAT), PANEL_TILE_VECTORS, TOKENS>(panel, vector, first, blocks, x, token, strip);
  }
};

/// Columns are taken in pieces whose weights, decoded once for all tokens, stay in the first-level cache.
template <Format FORMAT, class Kind>
void many_tokens(const Matrix& weights, int64_t first, int64_t last, const QuantizedActivations& x, int64_t tokens,
                 const Output& output, Panel& panel) {
  using M = Meaning<FORMAT>;
  const int64_t pieces = (x.blocks + PANEL_BLOCKS - 1) / PANEL_BLOCKS;
  const int64_t piece = M::SUPER ? PANEL_BLOCKS / 8 * 8 : (x.blocks + pieces - 1) / pieces;
  for (int64_t from = 0; from < tokens; from += STRIP_TOKENS)
    for (int64_t strip = first; strip < last; strip += STRIP_ROWS) {
      const int64_t to = min(tokens, from + STRIP_TOKENS), end = min(last, strip + STRIP_ROWS);
      for (int64_t b = 0; b < x.blocks; b += piece) {
        const int64_t until = min(x.blocks, b + piece);
        for (int64_t row = strip; row < end; row += PANEL_GROUPS * ROW_GROUP) {
          for (int64_t g = 0; g < PANEL_GROUPS && row + g * ROW_GROUP < end; ++g)
            Kind::template fill<FORMAT>(weights.group(row / ROW_GROUP + g), b, until, g, panel);
          const auto tile = [&](auto count, int64_t t) {
            float* values = panel.values[t - from] + row - strip;
            for (int64_t vector = 0; vector < PANEL_VECTORS; vector += PANEL_TILE_VECTORS)
              Kind::template tile<FORMAT, decltype(count)::value>(panel, vector, b, until - b, x, t, values);
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

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
