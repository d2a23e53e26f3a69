// Matrix products of packed weights and float32 activations. Part of kernels.cpp: compiled for each instruction set.
#pragma once

#include "kernels.h"
#include "micro_kernel.h"
#include "output.h"
#include "weights.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

// An output is the sum, one after the other, of the sums of 128 columns, each of which is one multiplication and
// addition a column: a lane of its own, whatever the number of rows and tokens, so that nothing changes its bits.
constexpr int64_t CHUNK = 128;
static_assert(CHUNK % BLOCK == 0);

constexpr int64_t TOKEN_BLOCK = 192;  // that meet a panel of weights together: of whole tiles
static_assert(TOKEN_BLOCK % TILE == 0);

constexpr int64_t AHEAD_BYTES = 8192;  // between the weights in use and those called for, of all groups together

/// The activations of some tokens.
struct Activations {
  const float* data;
  int64_t stride;

  Activations behind(int64_t tokens) const { return {data + tokens * stride, stride}; }
};

/// totals[token][row of the groups] += groups . x over the columns begin <= c < end of a chunk.
template <bool PREFETCH, int GROUPS, int TOKENS, class Element>
inline void add_chunk(const Groups<Element>& groups, const Activations& x, int64_t begin, int64_t end, float* totals) {
  const float* columns[TOKENS];
  for (int t = 0; t < TOKENS; ++t) columns[t] = x.data + t * x.stride + begin;
  Vector sums[GROUPS][TOKENS];
  for (int g = 0; g < GROUPS; ++g)
    for (int t = 0; t < TOKENS; ++t) sums[g][t] = zero();
  micro_kernel<PREFETCH>(groups, columns, 0, end - begin, sums);
  for (int g = 0; g < GROUPS; ++g)
    for (int t = 0; t < TOKENS; ++t) {
      float* total = totals + (t * GROUPS + g) * WIDTH;
      store(total, load(total) + sums[g][t]);
    }
}

// -- few tokens: weights are read once, from where they lie -----------------------------------------------------------

template <int GROUPS, int TOKENS, class Element>
NOINLINE void stream_groups(const Matrix& m, int64_t row, const Activations& x, const Output& output) {
  const int64_t columns = m.blocks() * BLOCK, stride = m.group_bytes() / int64_t(sizeof(Element));
  const auto* data = reinterpret_cast<const Element*>(m.group(row / WIDTH));
  alignas(64) float totals[TOKENS * GROUPS * WIDTH] = {};
  for (int64_t begin = 0; begin < columns; begin += CHUNK) {
    const Groups<Element> groups{data + begin * WIDTH, stride, WIDTH, AHEAD_BYTES / GROUPS / int64_t(sizeof(Element))};
    add_chunk<true, GROUPS, TOKENS>(groups, x, begin, min(columns, begin + CHUNK), totals);
  }
  for (int t = 0; t < TOKENS; ++t)
    for (int g = 0; g < GROUPS; ++g) output.write(t, row + g * WIDTH, totals + (t * GROUPS + g) * WIDTH);
}

template <class Element, int TOKENS = TILE>
void stream_matmul(const Matrix& m, int64_t first, int64_t last, const Activations& x, int64_t tokens,
                   const Output& output) {
  if constexpr (TOKENS > 1)
    if (tokens < TOKENS) return stream_matmul<Element, TOKENS - 1>(m, first, last, x, tokens, output);
  constexpr int GROUPS = groups_for(TOKENS);
  int64_t row = first;
  for (; row + (GROUPS - 1) * WIDTH < last; row += GROUPS * WIDTH)
    stream_groups<GROUPS, TOKENS, Element>(m, row, x, output);
  for (; row < last; row += WIDTH) stream_groups<1, TOKENS, Element>(m, row, x, output);
}

// -- many tokens: as in BLIS, a panel of weights as float32 stays in the cache ----------------------------------------

constexpr int PANEL_ROW_GROUPS = groups_for(TILE);

/// Columns begin <= c < end of one group of rows as float32: [column][16 rows].
template <class Element>
struct FloatPanel {
  static void unpack(const uint8_t* group, int64_t begin, int64_t end, float* out) {
    const auto* data = reinterpret_cast<const Element*>(group);
    for (int64_t c = begin; c < end; ++c) store(out + (c - begin) * WIDTH, load(data + c * WIDTH));
  }
};
template <Format FORMAT>
struct QuantizedPanel {
  static void unpack(const uint8_t* group, int64_t begin, int64_t end, float* out) {
    for_each_block<FORMAT>(group, begin / BLOCK, end / BLOCK,
                           [&](const uint8_t* head, const uint8_t* block, int64_t b) {
                             dequantize_block<FORMAT>(head, block, out + (b * BLOCK - begin) * WIDTH);
                           });
  }
};

/// A tile of up to TOKENS tokens against a panel.
template <int GROUPS, int TOKENS = TILE>
NOINLINE void add_tile(const Groups<float>& panel, const Activations& x, int64_t tokens, int64_t begin, int64_t end,
                       float* totals) {
  if constexpr (TOKENS > 1)
    if (tokens < TOKENS) return add_tile<GROUPS, TOKENS - 1>(panel, x, tokens, begin, end, totals);
  add_chunk<false, GROUPS, TOKENS>(panel, x, begin, end, totals);
}

/// GROUPS groups of rows for up to TOKEN_BLOCK tokens.
template <class Panel, int GROUPS>
void panel_groups(const Matrix& m, int64_t row, const Activations& x, int64_t tokens, const Output& output,
                  float* scratch) {
  const int64_t columns = m.blocks() * BLOCK;
  float *totals = scratch, *panel = scratch + TOKEN_BLOCK * GROUPS * WIDTH;
  memset(totals, 0, size_t(tokens * GROUPS * WIDTH) * sizeof(float));
  for (int64_t begin = 0; begin < columns; begin += CHUNK) {
    const int64_t end = min(columns, begin + CHUNK);
    for (int g = 0; g < GROUPS; ++g) Panel::unpack(m.group(row / WIDTH + g), begin, end, panel + g * CHUNK * WIDTH);
    const Groups<float> groups{panel, CHUNK * WIDTH, WIDTH, 0};
    for (int64_t t = 0, here; t < tokens; t += here) {
      const int64_t left = tokens - t;  // the last two tiles are of one size
      here = left >= 2 * TILE ? TILE : left > TILE ? (left + 1) / 2 : left;
      add_tile<GROUPS>(groups, x.behind(t), here, begin, end, totals + t * GROUPS * WIDTH);
    }
  }
  for (int64_t t = 0; t < tokens; ++t)
    for (int g = 0; g < GROUPS; ++g) output.write(t, row + g * WIDTH, totals + (t * GROUPS + g) * WIDTH);
}

template <class Panel>
void panel_matmul(const Matrix& m, int64_t first, int64_t last, const Activations& x, int64_t tokens,
                  const Output& output, float* scratch) {
  for (int64_t t = 0; t < tokens; t += TOKEN_BLOCK) {
    const int64_t here = min(TOKEN_BLOCK, tokens - t), offset = t * output.stride;
    const Output part{output.bias, output.addend ? output.addend + offset : nullptr, output.out + offset, output.stride,
                      output.rows};
    int64_t row = first;
    for (; row + (PANEL_ROW_GROUPS - 1) * WIDTH < last; row += PANEL_ROW_GROUPS * WIDTH)
      panel_groups<Panel, PANEL_ROW_GROUPS>(m, row, x.behind(t), here, part, scratch);
    for (; row < last; row += WIDTH) panel_groups<Panel, 1>(m, row, x.behind(t), here, part, scratch);
  }
}

template <class Element>
void float_matmul(const Matrix& m, int64_t first, int64_t last, const Activations& x, int64_t tokens,
                  const Output& output, float* scratch) {
  if (tokens <= TILE) stream_matmul<Element>(m, first, last, x, tokens, output);
  else panel_matmul<FloatPanel<Element>>(m, first, last, x, tokens, output, scratch);
}

void matmul(const Matrix& m, int64_t first, int64_t last, const float* x, int64_t x_stride, int64_t tokens,
            const float* bias, const float* addend, float* out, int64_t out_stride, float* scratch) {
  const Activations activations{x, x_stride};
  const Output output{bias, addend, out, out_stride, m.rows};
  switch (m.format) {
    case Format::F32: return float_matmul<float>(m, first, last, activations, tokens, output, scratch);
    case Format::F16: return float_matmul<uint16_t>(m, first, last, activations, tokens, output, scratch);
    case Format::BF16: return float_matmul<Bfloat16>(m, first, last, activations, tokens, output, scratch);
    default: break;
  }
  for_quantized_format(m.format, [&](auto format) {
    panel_matmul<QuantizedPanel<decltype(format)::value>>(m, first, last, activations, tokens, output, scratch);
  });
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
