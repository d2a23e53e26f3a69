// Weights in their formats, and matrix products with them. Part of kernels.cpp: compiled for each instruction set.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

constexpr int PER_BLOCK = BLOCK / WIDTH;
constexpr int64_t PREFETCH_DISTANCE = 8 * 1024;  // bytes between the weights in use and those called for

// -- weights: block `b` of a row as float32 ---------------------------------------------------------------------------

template <Format>
struct Dequantizer;

template <>
struct Dequantizer<Format::F32> {
  static void block(const uint8_t* row, int64_t b, Vector* out) {
    const float* p = reinterpret_cast<const float*>(row) + b * BLOCK;
    for (int i = 0; i < PER_BLOCK; ++i) out[i] = load(p + i * WIDTH);
  }
};

template <>
struct Dequantizer<Format::F16> {
  static void block(const uint8_t* row, int64_t b, Vector* out) {
    const uint16_t* p = reinterpret_cast<const uint16_t*>(row) + b * BLOCK;
    for (int i = 0; i < PER_BLOCK; ++i) out[i] = load_fp16(p + i * WIDTH);
  }
};

template <>
struct Dequantizer<Format::BF16> {
  static void block(const uint8_t* row, int64_t b, Vector* out) {
    const uint16_t* p = reinterpret_cast<const uint16_t*>(row) + b * BLOCK;
    for (int i = 0; i < PER_BLOCK; ++i) out[i] = load_bf16(p + i * WIDTH);
  }
};

template <>
struct Dequantizer<Format::Q8_0> {
  static void block(const uint8_t* row, int64_t b, Vector* out) {
    const uint8_t* p = row + b * block_bytes(Format::Q8_0);
    const Vector scale = broadcast_fp16(p);
    for (int i = 0; i < PER_BLOCK; ++i) out[i] = load_int8(reinterpret_cast<const int8_t*>(p + 2) + i * WIDTH) * scale;
  }
};

template <>
struct Dequantizer<Format::Q4_0> {
  static void block(const uint8_t* row, int64_t b, Vector* out) {
    const uint8_t* p = row + b * block_bytes(Format::Q4_0);
    const Vector scale = broadcast_fp16(p);
    load_int4(p + 2, scale, broadcast(-8.0f) * scale, out);
  }
};

template <>
struct Dequantizer<Format::Q4_1> {
  static void block(const uint8_t* row, int64_t b, Vector* out) {
    const uint8_t* p = row + b * block_bytes(Format::Q4_1);
    Vector scale, offset;
    broadcast_fp16_pair(p, &scale, &offset);
    load_int4(p + 4, scale, offset, out);
  }
};

/// `count` blocks of a row.
template <Format FORMAT>
void dequantize_blocks(const uint8_t* row, int64_t begin, int64_t count, float* out) {
  for (int64_t b = 0; b < count; ++b) {
    Vector w[PER_BLOCK];
    Dequantizer<FORMAT>::block(row, begin + b, w);
    for (int64_t at = 0; at < block_bytes(FORMAT); at += 64)
      prefetch(row + (begin + b) * block_bytes(FORMAT) + at + PREFETCH_DISTANCE);
    for (int i = 0; i < PER_BLOCK; ++i) store(out + b * BLOCK + i * WIDTH, w[i]);
  }
}

// -- matrix products --------------------------------------------------------------------------------------------------

// As in BLIS: a micro-kernel has a small tile of the output in registers, a macro-kernel runs it over a panel.
constexpr int ROW_TILE = 4;
constexpr int64_t GROUP_BYTES = 24 * 1024;  // of tokens that meet a panel together

/// out = W x + bias + addend: where results go, and what is added to them.
struct Output {
  const float *bias, *addend;
  float* out;
  int64_t stride;

  /// For the chunks of columns behind the first, whose sums are added to what is there.
  Output accumulating() const { return {nullptr, out, out, stride}; }

  /// ROWS rows of one token; each is the sum of its vector's lanes.
  template <int ROWS>
  void write(int64_t token, int64_t row, const Vector* lanes) const {
    float values[ROWS];
    if constexpr (ROWS == ROW_TILE) reduce_add_x4(lanes, values);
    else
      for (int r = 0; r < ROWS; ++r) values[r] = reduce_add(lanes[r]);
    write_values<ROWS>(token, row, values);
  }

  /// Two rows of two tokens.
  void write_2x2(int64_t token, int64_t row, const Vector* first, const Vector* second) const {
    const Vector lanes[ROW_TILE] = {first[0], first[1], second[0], second[1]};
    float values[ROW_TILE];
    reduce_add_x4(lanes, values);
    write_values<2>(token, row, values);
    write_values<2>(token + 1, row, values + 2);
  }

  template <int ROWS>
  void write_values(int64_t token, int64_t row, float* values) const {
    const int64_t index = token * stride + row;
    if (bias)
      for (int r = 0; r < ROWS; ++r) values[r] += bias[row + r];
    if (addend)
      for (int r = 0; r < ROWS; ++r) values[r] += addend[index + r];
    memcpy(out + index, values, ROWS * sizeof(float));
  }
};

/// Columns are summed in chunks of about 1024: what a tile reads of them stays in the first-level cache. How they are
/// cut depends on their number only, and so does the order in which an output is summed.
struct ColumnChunks {
  int64_t blocks, count, size;

  explicit ColumnChunks(int64_t all) : blocks(all), count((all + 31) / 32), size((all + count - 1) / count) {}
  int64_t begin(int64_t chunk) const { return chunk * size; }
  int64_t end(int64_t chunk) const { return min(blocks, (chunk + 1) * size); }
};

/// ROWS x TOKENS outputs at once, over `blocks` blocks. Each has a vector of sums of its own: lane l sums the columns
/// l, l + WIDTH, ... in order. That order is the same for every ROWS and TOKENS.
///
/// Where the weights come from memory, what the rows behind these hold is called for in advance: the processor's own
/// guesses do not see through blocks.
template <Format FORMAT, int ROWS, int TOKENS, bool PREFETCH>
inline void micro_kernel(const uint8_t* weights, int64_t row_bytes, int64_t row, const float* x, int64_t x_stride,
                         int64_t blocks, int64_t token, const Output& output) {
  Vector lanes[TOKENS][ROWS];
  for (int t = 0; t < TOKENS; ++t)
    for (int r = 0; r < ROWS; ++r) lanes[t][r] = zero();
  for (int64_t b = 0; b < blocks; ++b) {
    Vector w[ROWS][PER_BLOCK];
    for (int r = 0; r < ROWS; ++r) Dequantizer<FORMAT>::block(weights + r * row_bytes, b, w[r]);
    if (PREFETCH)
      for (int64_t at = 0; at < ROWS * block_bytes(FORMAT); at += 64)
        prefetch(weights + b * ROWS * block_bytes(FORMAT) + at + PREFETCH_DISTANCE);
    for (int i = 0; i < PER_BLOCK; ++i)
      for (int t = 0; t < TOKENS; ++t) {
        const Vector column = load(x + t * x_stride + b * BLOCK + i * WIDTH);
        for (int r = 0; r < ROWS; ++r) lanes[t][r] = fma(w[r][i], column, lanes[t][r]);
      }
  }
  constexpr int SQUARES = ROWS == 2 ? TOKENS / 2 : 0;
  for (int t = 0; t < 2 * SQUARES; t += 2) output.write_2x2(token + t, row, lanes[t], lanes[t + 1]);
  for (int t = 2 * SQUARES; t < TOKENS; ++t) output.write<ROWS>(token + t, row, lanes[t]);
}

/// ROW_TILE rows for more than TOKEN_TILE tokens, up to twice as many: two rows at a time, dequantized once for all.
template <Format FORMAT, bool PREFETCH, int TOKENS = 2 * TOKEN_TILE>
inline void wide_micro_kernel(const uint8_t* weights, int64_t row_bytes, int64_t row, const float* x, int64_t x_stride,
                              int64_t blocks, int64_t token, int64_t tokens, const Output& output) {
  if constexpr (TOKENS > TOKEN_TILE) {
    if (tokens < TOKENS)
      return wide_micro_kernel<FORMAT, PREFETCH, TOKENS - 1>(weights, row_bytes, row, x, x_stride, blocks, token,
                                                             tokens, output);
    for (int r = 0; r < ROW_TILE; r += 2)
      micro_kernel<FORMAT, 2, TOKENS, PREFETCH>(weights + r * row_bytes, row_bytes, row + r, x, x_stride, blocks, token,
                                                output);
  }
}

/// Tokens first <= t < last against ROWS rows.
template <Format FORMAT, int ROWS, bool PREFETCH>
inline void macro_kernel(const uint8_t* weights, int64_t row_bytes, int64_t row, const float* x, int64_t x_stride,
                         int64_t blocks, int64_t first, int64_t last, const Output& output) {
  int64_t t = first;
  if constexpr (is_quantized(FORMAT) && ROWS == ROW_TILE)
    for (int64_t count; (count = min(2 * TOKEN_TILE, last - t)) > TOKEN_TILE; t += count)
      wide_micro_kernel<FORMAT, PREFETCH>(weights, row_bytes, row, x + t * x_stride, x_stride, blocks, t, count,
                                          output);
  for (; t + TOKEN_TILE <= last; t += TOKEN_TILE)
    micro_kernel<FORMAT, ROWS, TOKEN_TILE, PREFETCH>(weights, row_bytes, row, x + t * x_stride, x_stride, blocks, t,
                                                     output);
  x += t * x_stride;
  switch (last - t) {
    case 3: return micro_kernel<FORMAT, ROWS, 3, PREFETCH>(weights, row_bytes, row, x, x_stride, blocks, t, output);
    case 2: return micro_kernel<FORMAT, ROWS, 2, PREFETCH>(weights, row_bytes, row, x, x_stride, blocks, t, output);
    case 1: return micro_kernel<FORMAT, ROWS, 1, PREFETCH>(weights, row_bytes, row, x, x_stride, blocks, t, output);
    default: return;
  }
}

/// ROWS rows for few tokens, chunk of columns after chunk.
template <Format FORMAT, int ROWS>
inline void matvec_rows(const uint8_t* weights, int64_t row_bytes, int64_t row, const float* x, int64_t x_stride,
                        const ColumnChunks& chunks, int64_t tokens, const Output& output) {
  Output part = output;
  for (int64_t c = 0; c < chunks.count; ++c, part = output.accumulating()) {
    const int64_t begin = chunks.begin(c), blocks = chunks.end(c) - begin;
    macro_kernel<FORMAT, ROWS, true>(weights + begin * block_bytes(FORMAT), row_bytes, row, x + begin * BLOCK, x_stride,
                                     blocks, 0, tokens, part);
  }
}

/// One token, or few: the weights are read once, from where they lie.
template <Format FORMAT>
void matvec(const Matrix& m, int64_t first, int64_t last, const float* x, int64_t x_stride, int64_t tokens,
            const Output& output) {
  const ColumnChunks chunks(m.blocks());
  const int64_t row_bytes = m.blocks() * block_bytes(FORMAT);
  int64_t r = first;
  for (; r + ROW_TILE <= last; r += ROW_TILE)
    matvec_rows<FORMAT, ROW_TILE>(row_data(m, r), row_bytes, r, x, x_stride, chunks, tokens, output);
  for (; r < last; ++r) matvec_rows<FORMAT, 1>(row_data(m, r), row_bytes, r, x, x_stride, chunks, tokens, output);
}

/// Many tokens: a panel of rows is dequantized once and stays in the L2 cache, a group of tokens in the L1.
template <Format FORMAT>
void gemm(const Matrix& m, int64_t first, int64_t last, const float* x, int64_t x_stride, int64_t tokens,
          const Output& output, float* panel) {
  const ColumnChunks chunks(m.blocks());
  const int64_t stride = row_stride(chunks.size * BLOCK), bytes = stride * int64_t(sizeof(float));
  const int64_t rows = PANEL_BYTES / bytes, group = max(1, GROUP_BYTES / bytes / TOKEN_TILE) * TOKEN_TILE;
  const auto* weights = reinterpret_cast<const uint8_t*>(panel);
  for (int64_t from = first; from < last; from += rows) {
    const int64_t to = min(from + rows, last);
    Output part = output;
    for (int64_t c = 0; c < chunks.count; ++c, part = output.accumulating()) {
      const int64_t begin = chunks.begin(c), blocks = chunks.end(c) - begin;
      for (int64_t r = from; r < to; ++r)
        dequantize_blocks<FORMAT>(row_data(m, r), begin, blocks, panel + (r - from) * stride);
      for (int64_t t = 0; t < tokens; t += group) {
        const int64_t until = min(t + group, tokens);
        int64_t r = from;
        for (; r + ROW_TILE <= to; r += ROW_TILE)
          macro_kernel<Format::F32, ROW_TILE, false>(weights + (r - from) * bytes, bytes, r, x + begin * BLOCK,
                                                     x_stride, blocks, t, until, part);
        for (; r < to; ++r)
          macro_kernel<Format::F32, 1, false>(weights + (r - from) * bytes, bytes, r, x + begin * BLOCK, x_stride,
                                              blocks, t, until, part);
      }
    }
  }
}

template <Format FORMAT>
void matmul_format(const Matrix& m, int64_t first, int64_t last, const float* x, int64_t x_stride, int64_t tokens,
                   const Output& output, float* scratch) {
  // Dequantizing twice costs less than keeping the result; numbers that need none may be read more often.
  if (tokens <= (FORMAT == Format::F32 ? 32 : 2 * TOKEN_TILE))
    matvec<FORMAT>(m, first, last, x, x_stride, tokens, output);
  else gemm<FORMAT>(m, first, last, x, x_stride, tokens, output, scratch);
}

void matmul(const Matrix& m, int64_t first, int64_t last, const float* x, int64_t x_stride, int64_t tokens,
            const float* bias, const float* addend, float* out, int64_t out_stride, float* scratch) {
  const Output output{bias, addend, out, out_stride};
  switch (m.format) {
    case Format::F32: return matmul_format<Format::F32>(m, first, last, x, x_stride, tokens, output, scratch);
    case Format::F16: return matmul_format<Format::F16>(m, first, last, x, x_stride, tokens, output, scratch);
    case Format::BF16: return matmul_format<Format::BF16>(m, first, last, x, x_stride, tokens, output, scratch);
    case Format::Q8_0: return matmul_format<Format::Q8_0>(m, first, last, x, x_stride, tokens, output, scratch);
    case Format::Q4_0: return matmul_format<Format::Q4_0>(m, first, last, x, x_stride, tokens, output, scratch);
    case Format::Q4_1: return matmul_format<Format::Q4_1>(m, first, last, x, x_stride, tokens, output, scratch);
    default: return;
  }
}

void dequantize_row(const Matrix& m, int64_t row, float* out) {
  switch (m.format) {
    case Format::F32: return dequantize_blocks<Format::F32>(row_data(m, row), 0, m.blocks(), out);
    case Format::F16: return dequantize_blocks<Format::F16>(row_data(m, row), 0, m.blocks(), out);
    case Format::BF16: return dequantize_blocks<Format::BF16>(row_data(m, row), 0, m.blocks(), out);
    case Format::Q8_0: return dequantize_blocks<Format::Q8_0>(row_data(m, row), 0, m.blocks(), out);
    case Format::Q4_0: return dequantize_blocks<Format::Q4_0>(row_data(m, row), 0, m.blocks(), out);
    case Format::Q4_1: return dequantize_blocks<Format::Q4_1>(row_data(m, row), 0, m.blocks(), out);
    default: return;
  }
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
