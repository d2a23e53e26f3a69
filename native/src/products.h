// Weights in their formats, and matrix products with them. Part of kernels.cpp, which compiles it for each instruction set.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

constexpr int PER_BLOCK = BLOCK / WIDTH;
constexpr int64_t AHEAD = 8 * 1024;  // bytes between the weights that are called for from memory and those in use

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

/// `count` blocks of a row.
template <Format FORMAT>
void unpack_blocks(const uint8_t* row, int64_t begin, int64_t count, float* out) {
  for (int64_t b = 0; b < count; ++b) {
    Vector w[PER_BLOCK];
    Row<FORMAT>::block(row, begin + b, w);
    for (int64_t at = 0; at < block_bytes(FORMAT); at += 64) prefetch(row + (begin + b) * block_bytes(FORMAT) + at + AHEAD);
    for (int i = 0; i < PER_BLOCK; ++i) store(out + b * BLOCK + i * WIDTH, w[i]);
  }
}

// -- matrix products --------------------------------------------------------------------------------------------------

constexpr int ROW_TILE = 4;
constexpr bool unpacking_is_dear(Format format) { return format == Format::Q8_0 || format == Format::Q4_0 || format == Format::Q4_1; }
constexpr int64_t GROUP_BYTES = 24 * 1024;  // of tokens that meet a panel together

/// Where results go.
struct Output {
  const float *bias, *plus;
  float* out;
  int64_t stride;

  /// For the chunks of columns behind the first, whose sums are added to what is there.
  Output further() const { return {nullptr, out, out, stride}; }

  template <int ROWS>
  void put(int64_t token, int64_t row, const Vector* lanes) const {
    float values[ROWS];
    if constexpr (ROWS == ROW_TILE) sums(lanes, values);
    else
      for (int r = 0; r < ROWS; ++r) values[r] = sum(lanes[r]);
    put_values<ROWS>(token, row, values);
  }

  /// Two rows of two tokens.
  void put_square(int64_t token, int64_t row, const Vector* first, const Vector* second) const {
    const Vector lanes[ROW_TILE] = {first[0], first[1], second[0], second[1]};
    float values[ROW_TILE];
    sums(lanes, values);
    put_values<2>(token, row, values);
    put_values<2>(token + 1, row, values + 2);
  }

  template <int ROWS>
  void put_values(int64_t token, int64_t row, float* values) const {
    const int64_t place = token * stride + row;
    if (bias)
      for (int r = 0; r < ROWS; ++r) values[r] += bias[row + r];
    if (plus)
      for (int r = 0; r < ROWS; ++r) values[r] += plus[place + r];
    memcpy(out + place, values, ROWS * sizeof(float));
  }
};

/// Columns are summed in chunks of about 1024: what a tile reads of them stays in the first-level cache. How they are cut
/// depends on their number only, and so does the order in which an output is summed.
struct Chunks {
  int64_t blocks, count, size;

  explicit Chunks(int64_t all) : blocks(all), count((all + 31) / 32), size((all + count - 1) / count) {}
  int64_t begin(int64_t chunk) const { return chunk * size; }
  int64_t end(int64_t chunk) const { return least(blocks, (chunk + 1) * size); }
};

/// ROWS x TOKENS outputs at once, over `blocks` blocks. Each has a vector of sums of its own: lane l sums the columns l,
/// l + WIDTH, ... in order. That order is the same for every ROWS and TOKENS.
///
/// Where the weights come from memory, what the rows behind these hold is called for in advance: the processor's own
/// guesses do not see through blocks.
template <Format FORMAT, int ROWS, int TOKENS, bool FROM_MEMORY>
inline void tile(const uint8_t* weights, int64_t row_bytes, int64_t row, const float* x, int64_t x_stride, int64_t blocks,
                 int64_t token, const Output& output) {
  Vector lanes[TOKENS][ROWS];
  for (int t = 0; t < TOKENS; ++t)
    for (int r = 0; r < ROWS; ++r) lanes[t][r] = zero();
  for (int64_t b = 0; b < blocks; ++b) {
    Vector w[ROWS][PER_BLOCK];
    for (int r = 0; r < ROWS; ++r) Row<FORMAT>::block(weights + r * row_bytes, b, w[r]);
    if (FROM_MEMORY)
      for (int64_t at = 0; at < ROWS * block_bytes(FORMAT); at += 64)
        prefetch(weights + b * ROWS * block_bytes(FORMAT) + at + AHEAD);
    for (int i = 0; i < PER_BLOCK; ++i)
      for (int t = 0; t < TOKENS; ++t) {
        const Vector column = load(x + t * x_stride + b * BLOCK + i * WIDTH);
        for (int r = 0; r < ROWS; ++r) lanes[t][r] = fma(w[r][i], column, lanes[t][r]);
      }
  }
  constexpr int SQUARES = ROWS == 2 ? TOKENS / 2 : 0;
  for (int t = 0; t < 2 * SQUARES; t += 2) output.put_square(token + t, row, lanes[t], lanes[t + 1]);
  for (int t = 2 * SQUARES; t < TOKENS; ++t) output.put<ROWS>(token + t, row, lanes[t]);
}

/// ROW_TILE rows for more than TOKEN_TILE tokens, up to twice as many: two rows at a time, each unpacked once for all.
template <Format FORMAT, bool FROM_MEMORY, int TOKENS = 2 * TOKEN_TILE>
inline void wide_tile(const uint8_t* weights, int64_t row_bytes, int64_t row, const float* x, int64_t x_stride, int64_t blocks,
                      int64_t token, int64_t tokens, const Output& output) {
  if constexpr (TOKENS > TOKEN_TILE) {
    if (tokens < TOKENS)
      return wide_tile<FORMAT, FROM_MEMORY, TOKENS - 1>(weights, row_bytes, row, x, x_stride, blocks, token, tokens, output);
    for (int r = 0; r < ROW_TILE; r += 2)
      tile<FORMAT, 2, TOKENS, FROM_MEMORY>(weights + r * row_bytes, row_bytes, row + r, x, x_stride, blocks, token, output);
  }
}

/// Tokens first <= t < last against ROWS rows.
template <Format FORMAT, int ROWS, bool FROM_MEMORY>
inline void rows_by_tokens(const uint8_t* weights, int64_t row_bytes, int64_t row, const float* x, int64_t x_stride,
                           int64_t blocks, int64_t first, int64_t last, const Output& output) {
  int64_t t = first;
  if constexpr (unpacking_is_dear(FORMAT) && ROWS == ROW_TILE)
    for (int64_t count; (count = least(2 * TOKEN_TILE, last - t)) > TOKEN_TILE; t += count)
      wide_tile<FORMAT, FROM_MEMORY>(weights, row_bytes, row, x + t * x_stride, x_stride, blocks, t, count, output);
  for (; t + TOKEN_TILE <= last; t += TOKEN_TILE)
    tile<FORMAT, ROWS, TOKEN_TILE, FROM_MEMORY>(weights, row_bytes, row, x + t * x_stride, x_stride, blocks, t, output);
  x += t * x_stride;
  switch (last - t) {
    case 3: return tile<FORMAT, ROWS, 3, FROM_MEMORY>(weights, row_bytes, row, x, x_stride, blocks, t, output);
    case 2: return tile<FORMAT, ROWS, 2, FROM_MEMORY>(weights, row_bytes, row, x, x_stride, blocks, t, output);
    case 1: return tile<FORMAT, ROWS, 1, FROM_MEMORY>(weights, row_bytes, row, x, x_stride, blocks, t, output);
    default: return;
  }
}

/// Few tokens: the weights are read once, from where they lie.
template <Format FORMAT, int ROWS>
inline void stream(const uint8_t* weights, int64_t row_bytes, int64_t row, const float* x, int64_t x_stride,
                   const Chunks& chunks, int64_t tokens, const Output& output) {
  Output part = output;
  for (int64_t c = 0; c < chunks.count; ++c, part = output.further()) {
    const int64_t begin = chunks.begin(c), blocks = chunks.end(c) - begin;
    rows_by_tokens<FORMAT, ROWS, true>(weights + begin * block_bytes(FORMAT), row_bytes, row, x + begin * BLOCK, x_stride, blocks,
                                       0, tokens, part);
  }
}

template <Format FORMAT>
void multiply_few(const Matrix& m, int64_t first, int64_t last, const float* x, int64_t x_stride, int64_t tokens,
                  const Output& output) {
  const Chunks chunks(m.blocks());
  const int64_t row_bytes = m.blocks() * block_bytes(FORMAT);
  int64_t r = first;
  for (; r + ROW_TILE <= last; r += ROW_TILE) stream<FORMAT, ROW_TILE>(m.row(r), row_bytes, r, x, x_stride, chunks, tokens, output);
  for (; r < last; ++r) stream<FORMAT, 1>(m.row(r), row_bytes, r, x, x_stride, chunks, tokens, output);
}

/// Many tokens: a panel of rows is unpacked once and stays in the second-level cache, a group of tokens in the first.
template <Format FORMAT>
void multiply_many(const Matrix& m, int64_t first, int64_t last, const float* x, int64_t x_stride, int64_t tokens,
                   const Output& output, float* panel) {
  const Chunks chunks(m.blocks());
  const int64_t stride = row_stride(chunks.size * BLOCK), bytes = stride * int64_t(sizeof(float));
  const int64_t rows = PANEL_BYTES / bytes, group = most(1, GROUP_BYTES / bytes / TOKEN_TILE) * TOKEN_TILE;
  const auto* weights = reinterpret_cast<const uint8_t*>(panel);
  for (int64_t from = first; from < last; from += rows) {
    const int64_t to = least(from + rows, last);
    Output part = output;
    for (int64_t c = 0; c < chunks.count; ++c, part = output.further()) {
      const int64_t begin = chunks.begin(c), blocks = chunks.end(c) - begin;
      for (int64_t r = from; r < to; ++r) unpack_blocks<FORMAT>(m.row(r), begin, blocks, panel + (r - from) * stride);
      for (int64_t t = 0; t < tokens; t += group) {
        const int64_t until = least(t + group, tokens);
        int64_t r = from;
        for (; r + ROW_TILE <= to; r += ROW_TILE)
          rows_by_tokens<Format::F32, ROW_TILE, false>(weights + (r - from) * bytes, bytes, r, x + begin * BLOCK, x_stride, blocks, t, until, part);
        for (; r < to; ++r)
          rows_by_tokens<Format::F32, 1, false>(weights + (r - from) * bytes, bytes, r, x + begin * BLOCK, x_stride, blocks, t, until, part);
      }
    }
  }
}

template <Format FORMAT>
void multiply_format(const Matrix& m, int64_t first, int64_t last, const float* x, int64_t x_stride, int64_t tokens,
                     const Output& output, float* scratch) {
  // Unpacking twice costs less than keeping what was unpacked; numbers that need none may be read more often.
  if (tokens <= (FORMAT == Format::F32 ? 32 : 2 * TOKEN_TILE)) multiply_few<FORMAT>(m, first, last, x, x_stride, tokens, output);
  else multiply_many<FORMAT>(m, first, last, x, x_stride, tokens, output, scratch);
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
    case Format::F32: return unpack_blocks<Format::F32>(m.row(row), 0, m.blocks(), out);
    case Format::F16: return unpack_blocks<Format::F16>(m.row(row), 0, m.blocks(), out);
    case Format::BF16: return unpack_blocks<Format::BF16>(m.row(row), 0, m.blocks(), out);
    case Format::Q8_0: return unpack_blocks<Format::Q8_0>(m.row(row), 0, m.blocks(), out);
    case Format::Q4_0: return unpack_blocks<Format::Q4_0>(m.row(row), 0, m.blocks(), out);
    case Format::Q4_1: return unpack_blocks<Format::Q4_1>(m.row(row), 0, m.blocks(), out);
  }
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
