// Weights in their formats, and matrix products with them. Part of kernels.cpp, which compiles it for each instruction set.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

constexpr int PER_BLOCK = BLOCK / WIDTH;

// -- weights: block `b` of a row as float32 ---------------------------------------------------------------------------

template <Format>
struct Row;

template <>
struct Row<Format::F32> {
  static void block(const uint8_t* row, int64_t b, Vector* out) {
    const float* p = reinterpret_cast<const float*>(row) + b * BLOCK;
    for (int i = 0; i < PER_BLOCK; ++i) out[i] = load(p + i * WIDTH);
  }
};

template <>
struct Row<Format::F16> {
  static void block(const uint8_t* row, int64_t b, Vector* out) {
    const uint16_t* p = reinterpret_cast<const uint16_t*>(row) + b * BLOCK;
    for (int i = 0; i < PER_BLOCK; ++i) out[i] = load_half(p + i * WIDTH);
  }
};

template <>
struct Row<Format::BF16> {
  static void block(const uint8_t* row, int64_t b, Vector* out) {
    const uint16_t* p = reinterpret_cast<const uint16_t*>(row) + b * BLOCK;
    for (int i = 0; i < PER_BLOCK; ++i) out[i] = load_bfloat(p + i * WIDTH);
  }
};

template <>
struct Row<Format::Q8_0> {
  static void block(const uint8_t* row, int64_t b, Vector* out) {
    const uint8_t* p = row + b * block_bytes(Format::Q8_0);
    const Vector scale = all_of_half(p);
    for (int i = 0; i < PER_BLOCK; ++i) out[i] = load_int8(reinterpret_cast<const int8_t*>(p + 2) + i * WIDTH) * scale;
  }
};

template <>
struct Row<Format::Q4_0> {
  static void block(const uint8_t* row, int64_t b, Vector* out) {
    const uint8_t* p = row + b * block_bytes(Format::Q4_0);
    const Vector scale = all_of_half(p);
    load_int4(p + 2, scale, all(-8.0f) * scale, out);
  }
};

template <>
struct Row<Format::Q4_1> {
  static void block(const uint8_t* row, int64_t b, Vector* out) {
    const uint8_t* p = row + b * block_bytes(Format::Q4_1);
    Vector scale, offset;
    all_of_halves(p, &scale, &offset);
    load_int4(p + 4, scale, offset, out);
  }
};

/// A whole row.
template <Format FORMAT>
void unpack_format(const Matrix& m, int64_t row, float* out) {
  for (int64_t b = 0; b < m.blocks(); ++b) {
    Vector w[PER_BLOCK];
    Row<FORMAT>::block(m.row(row), b, w);
    for (int i = 0; i < PER_BLOCK; ++i) store(out + b * BLOCK + i * WIDTH, w[i]);
  }
}

// -- matrix products --------------------------------------------------------------------------------------------------

constexpr int ROW_TILE = 4;

/// Where results go.
struct Output {
  const float *bias, *plus;
  float* out;
  int64_t stride;

  template <int ROWS>
  void put(int64_t token, int64_t row, const Vector* lanes) const {
    float values[ROWS];
    if constexpr (ROWS == ROW_TILE) sums(lanes, values);
    else values[0] = sum(lanes[0]);
    const int64_t place = token * stride + row;
    if (bias)
      for (int r = 0; r < ROWS; ++r) values[r] += bias[row + r];
    if (plus)
      for (int r = 0; r < ROWS; ++r) values[r] += plus[place + r];
    memcpy(out + place, values, sizeof values);
  }
};

/// ROWS x TOKENS outputs at once. Each has a vector of sums of its own: lane l sums the columns l, l + WIDTH, ... in
/// order. That order is the same for every ROWS and TOKENS.
template <Format FORMAT, int ROWS, int TOKENS>
inline void tile(const uint8_t* weights, int64_t row_bytes, int64_t row, const float* x, int64_t x_stride, int64_t blocks,
                 int64_t token, const Output& output) {
  Vector lanes[TOKENS][ROWS];
  for (int t = 0; t < TOKENS; ++t)
    for (int r = 0; r < ROWS; ++r) lanes[t][r] = zero();
  for (int64_t b = 0; b < blocks; ++b) {
    Vector w[ROWS][PER_BLOCK];
    for (int r = 0; r < ROWS; ++r) Row<FORMAT>::block(weights + r * row_bytes, b, w[r]);
    for (int i = 0; i < PER_BLOCK; ++i)
      for (int t = 0; t < TOKENS; ++t) {
        const Vector column = load(x + t * x_stride + b * BLOCK + i * WIDTH);
        for (int r = 0; r < ROWS; ++r) lanes[t][r] = fma(w[r][i], column, lanes[t][r]);
      }
  }
  for (int t = 0; t < TOKENS; ++t) output.put<ROWS>(token + t, row, lanes[t]);
}

/// All tokens against ROWS rows.
template <Format FORMAT, int ROWS>
inline void rows_by_tokens(const uint8_t* weights, int64_t row_bytes, int64_t row, const float* x, int64_t x_stride,
                           int64_t blocks, int64_t first, int64_t last, const Output& output) {
  int64_t t = first;
  for (; t + TOKEN_TILE <= last; t += TOKEN_TILE)
    tile<FORMAT, ROWS, TOKEN_TILE>(weights, row_bytes, row, x + t * x_stride, x_stride, blocks, t, output);
  x += t * x_stride;
  switch (last - t) {
    case 3: return tile<FORMAT, ROWS, 3>(weights, row_bytes, row, x, x_stride, blocks, t, output);
    case 2: return tile<FORMAT, ROWS, 2>(weights, row_bytes, row, x, x_stride, blocks, t, output);
    case 1: return tile<FORMAT, ROWS, 1>(weights, row_bytes, row, x, x_stride, blocks, t, output);
    default: return;
  }
}

/// Rows first <= r < last, those of a full tile first. `weights` points to row `first`.
template <Format FORMAT>
inline void rows_in_tiles(const uint8_t* weights, int64_t row_bytes, int64_t first, int64_t last, const float* x,
                          int64_t x_stride, int64_t blocks, int64_t from, int64_t to, const Output& output) {
  int64_t r = first;
  for (; r + ROW_TILE <= last; r += ROW_TILE, weights += ROW_TILE * row_bytes)
    rows_by_tokens<FORMAT, ROW_TILE>(weights, row_bytes, r, x, x_stride, blocks, from, to, output);
  for (; r < last; ++r, weights += row_bytes)
    rows_by_tokens<FORMAT, 1>(weights, row_bytes, r, x, x_stride, blocks, from, to, output);
}

template <Format FORMAT>
void multiply_format(const Matrix& m, int64_t first, int64_t last, const float* x, int64_t x_stride, int64_t tokens,
                     const Output& output, float* scratch) {
  const int64_t blocks = m.blocks(), row_bytes = blocks * block_bytes(FORMAT), unpacked_bytes = blocks * BLOCK * 4;
  if (tokens <= TOKEN_TILE)
    return rows_in_tiles<FORMAT>(m.row(first), row_bytes, first, last, x, x_stride, blocks, 0, tokens, output);
  // Many tokens: a panel of rows is unpacked once and stays in the second-level cache, a group of tokens in the first.
  const int64_t panel = most(1, PANEL_BYTES / unpacked_bytes);
  const int64_t group = most(1, 32 * 1024 / unpacked_bytes / TOKEN_TILE) * TOKEN_TILE;
  for (int64_t begin = first; begin < last; begin += panel) {
    const int64_t end = least(begin + panel, last);
    const uint8_t* weights = m.row(begin);
    if (FORMAT != Format::F32) {
      for (int64_t r = begin; r < end; ++r) unpack_format<FORMAT>(m, r, scratch + (r - begin) * blocks * BLOCK);
      weights = reinterpret_cast<const uint8_t*>(scratch);
    }
    for (int64_t t = 0; t < tokens; t += group)
      rows_in_tiles<Format::F32>(weights, unpacked_bytes, begin, end, x, x_stride, blocks, t, least(t + group, tokens), output);
  }
}

void multiply(const Matrix& m, int64_t first, int64_t last, const float* x, int64_t x_stride, int64_t tokens,
              const float* bias, const float* plus, float* out, int64_t out_stride, float* scratch) {
  const Output output{bias, plus, out, out_stride};
  switch (m.format) {
    case Format::F32: return multiply_format<Format::F32>(m, first, last, x, x_stride, tokens, output, scratch);
    case Format::F16: return multiply_format<Format::F16>(m, first, last, x, x_stride, tokens, output, scratch);
    case Format::BF16: return multiply_format<Format::BF16>(m, first, last, x, x_stride, tokens, output, scratch);
    case Format::Q8_0: return multiply_format<Format::Q8_0>(m, first, last, x, x_stride, tokens, output, scratch);
    case Format::Q4_0: return multiply_format<Format::Q4_0>(m, first, last, x, x_stride, tokens, output, scratch);
    case Format::Q4_1: return multiply_format<Format::Q4_1>(m, first, last, x, x_stride, tokens, output, scratch);
  }
}

void unpack(const Matrix& m, int64_t row, float* out) {
  switch (m.format) {
    case Format::F32: return unpack_format<Format::F32>(m, row, out);
    case Format::F16: return unpack_format<Format::F16>(m, row, out);
    case Format::BF16: return unpack_format<Format::BF16>(m, row, out);
    case Format::Q8_0: return unpack_format<Format::Q8_0>(m, row, out);
    case Format::Q4_0: return unpack_format<Format::Q4_0>(m, row, out);
    case Format::Q4_1: return unpack_format<Format::Q4_1>(m, row, out);
  }
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
