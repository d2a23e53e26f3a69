// What the forward pass is made of, as a table of functions: one table for each instruction set (kernels.cpp).
#pragma once

#include <cstdint>

namespace nextword {

/// Numbers of a row that lie together: rows of activations are padded with zeros to whole blocks.
constexpr int64_t BLOCK = 32;
constexpr int64_t padded(int64_t count) { return (count + BLOCK - 1) / BLOCK * BLOCK; }

/// From one row of activations to the next: whole cache lines, and an odd number of them, so that equal columns of many
/// rows do not fall on the same few places of a cache.
constexpr int64_t row_stride(int64_t count) { return padded(count) + 16; }

/// How weights lie in memory. The quantised ones are GGUF's: blocks of 32 numbers, each block with a half-precision
/// scale d (and offset m): Q8_0 d q; Q4_0 d (q - 8); Q4_1 d q + m.
enum class Format { F32, F16, BF16, Q8_0, Q4_0, Q4_1 };

/// Bytes of a block of 32 numbers.
constexpr int64_t block_bytes(Format format) {
  switch (format) {
    case Format::F32: return 128;
    case Format::F16:
    case Format::BF16: return 64;
    case Format::Q8_0: return 34;
    case Format::Q4_0: return 18;
    default: return 20;
  }
}

/// A weight matrix: `rows` rows of whole blocks. It does not own its memory, which may be a mapped file, not aligned.
struct Matrix {
  Format format = Format::F32;
  int64_t rows = 0, columns = 0;
  const uint8_t* data = nullptr;

  int64_t blocks() const { return padded(columns) / BLOCK; }
  const uint8_t* row(int64_t i) const { return data + i * blocks() * block_bytes(format); }
};

enum class Activation { GELU, GELU_TANH, RELU_SQUARED, SWIGLU };

/// How keys and values are kept: whole, as half precision, or as 8-bit numbers with a scale for each token and head.
enum class CacheFormat { F32, F16, INT8 };

/// Keys of one head lie in groups of 64 tokens, within a group channel by channel: 64 scores come of one pass over it.
constexpr int64_t KEY_GROUP = 64;

/// One layer's keys and values of one head.
struct HeadCache {
  CacheFormat format;
  int64_t head_dim;
  int64_t value_stride;  // head_dim, padded to whole vectors
  void* keys;            // [group][head_dim][KEY_GROUP]
  void* values;          // [token][value_stride]
  float* key_scales;     // [token], for INT8
  float* value_scales;
};

/// out = sum_j softmax_j(scale q . k[j]) v[j] over the keys first <= j < last; `q` and `out` have head_dim numbers.
struct Query {
  const float* q;
  float* out;
  int64_t first, last;
};
constexpr int64_t MAX_QUERY_TILE = 4;  // queries for which keys and values are loaded once, at most

/// Memory that a thread may use for a panel of dequantized rows.
constexpr int64_t PANEL_BYTES = 512 * 1024;

struct Kernels {
  const char* name;

  /// out[t][r] = addend[t][r] + bias[r] + weights[r] . x[t] for rows first <= r < last and every token t; either of the
  /// two may be null. Rows of x are padded with zeros to whole blocks. `scratch` has PANEL_BYTES, more for long rows.
  ///
  /// The sum of one output runs over the columns in the same order whatever the number of tokens and rows.
  void (*matmul)(const Matrix& weights, int64_t first, int64_t last, const float* x, int64_t x_stride, int64_t tokens,
                 const float* bias, const float* addend, float* out, int64_t out_stride, float* scratch);

  /// One row as float32, padded to whole blocks.
  void (*dequantize_row)(const Matrix& weights, int64_t row, float* out);

  /// LayerNorm where there is a bias, else RMSNorm, of one token: out = (x - mean) / sqrt(var + eps) * weight + bias.
  void (*normalize)(const float* x, int64_t width, const float* weight, const float* bias, float eps, float* out);

  /// x becomes activation(x), or silu(x) * up for SWIGLU. `count` is a multiple of BLOCK.
  void (*activate)(Activation kind, float* x, const float* up, int64_t count);

  /// Writes a token's key and value to the cache, at its position, rounded to the cache's format.
  void (*store_kv)(const HeadCache& cache, int64_t position, const float* key, const float* value);

  /// Attention of queries, of one token or of several, that share a head of keys and values.
  ///
  /// `scores` has room for MAX_QUERY_TILE x (the furthest `last` rounded up to KEY_GROUP).
  void (*attend)(const HeadCache& cache, const Query* queries, int64_t count, float scale, float* scores);

  /// Reads memory and does nothing else; a number that depends on all of it. `count` is a multiple of 64.
  float (*read_loop)(const float* values, int64_t count);

  /// Multiplies and adds in registers and does nothing else, `rounds` times `flops_per_round` float32 operations.
  float (*fma_loop)(int64_t rounds);
  int64_t flops_per_round;
};

/// The tables this processor can run, best first; the last one is `portable`.
const Kernels* const* available_kernels();

}  // namespace nextword
