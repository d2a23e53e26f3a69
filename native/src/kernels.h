// What the forward pass is made of, as a table of functions: one table for each instruction set (kernels.cpp).
#pragma once

#include <cstdint>

#include "formats.h"

namespace nextword {

/// From one row of activations to the next: whole cache lines, and an odd number of them, so that equal columns of many
/// rows do not fall on the same few places of a cache.
constexpr int64_t row_stride(int64_t count) { return padded(count) + 16; }

enum class Activation { GELU, GELU_TANH, RELU_SQUARED, SWIGLU };

/// How keys and values are kept: whole, as half precision, or as 8-bit numbers with a scale for each token and head.
enum class CacheFormat { F32, F16, INT8 };

/// A cache lies in blocks of 512 tokens. Keys of one head are in groups of 32 tokens, within a group channel by
/// channel, as the rows of a packed matrix are; values in groups of 32 channels, within a group token by token. Both
/// are read from one end to the other.
constexpr int64_t KEY_BLOCK = 512, KEY_GROUP = 32, VALUE_GROUP = 32;

constexpr int64_t element_bytes(CacheFormat format) {
  return format == CacheFormat::F32 ? 4 : format == CacheFormat::F16 ? 2 : 1;
}

/// One layer's keys and values of one head: in each block keys [group][head_dim][KEY_GROUP], values
/// [group][token][VALUE_GROUP] and, for INT8, a scale of each token's key and one of its value.
struct HeadCache {
  CacheFormat format;
  int64_t head_dim;
  uint8_t* data;         // of the first block
  int64_t block_stride;  // bytes from one block to the next

  int64_t value_groups() const { return (head_dim + VALUE_GROUP - 1) / VALUE_GROUP; }
  int64_t key_bytes() const { return KEY_BLOCK * head_dim * element_bytes(format); }
  int64_t value_bytes() const { return KEY_BLOCK * value_groups() * VALUE_GROUP * element_bytes(format); }
  int64_t scale_bytes() const { return format == CacheFormat::INT8 ? KEY_BLOCK * int64_t(sizeof(float)) : 0; }
  /// Of one block.
  int64_t bytes() const { return key_bytes() + value_bytes() + 2 * scale_bytes(); }

  uint8_t* keys(int64_t block) const { return data + block * block_stride; }
  uint8_t* values(int64_t block) const { return keys(block) + key_bytes(); }
  float* key_scales(int64_t block) const { return reinterpret_cast<float*>(values(block) + value_bytes()); }
  float* value_scales(int64_t block) const { return key_scales(block) + KEY_BLOCK; }
};

/// out = sum_j softmax_j(scale q . k[j]) v[j] over the keys first <= j < last; `q` and `out` have head_dim numbers.
struct Query {
  const float* q;
  float* out;
  int64_t first, last;
};
constexpr int64_t ATTEND_QUERIES = 48;  // that go through the keys together, at most

/// Memory that a thread may use for a panel of dequantized rows.
constexpr int64_t PANEL_BYTES = 512 * 1024;

struct Kernels {
  const char* name;

  /// out[t][r] = weights[r] . x[t] + bias[r] + addend[t][r] for rows first <= r < last of a packed matrix and every
  /// token t; bias and addend may be null. `first` is a multiple of ROW_GROUP, and so is `last` where it is not the
  /// number of rows. Rows of x are padded with zeros to whole blocks. `scratch` has PANEL_BYTES and begins at a cache
  /// line.
  ///
  /// Quantised weights count as the float32 numbers that they stand for. The sum of one output runs over the columns in
  /// the same order whatever the number of tokens and rows, on every instruction set.
  void (*matmul)(const Matrix& weights, int64_t first, int64_t last, const float* x, int64_t x_stride, int64_t tokens,
                 const float* bias, const float* addend, float* out, int64_t out_stride, float* scratch);

  /// Blocks of 32 columns first <= b < last of one token, whose numbers begin at `x`; formats.h says what becomes of
  /// them.
  void (*quantize)(const float* x, int64_t first, int64_t last, const QuantizedActivations& out, int64_t token);

  /// As `matmul`, for packed quantised weights and quantised activations, of tokens 0 <= t < tokens. `first` is a
  /// multiple of ROW_GROUP, and so is `last` where it is not the number of rows. `scratch` has PANEL_BYTES and begins
  /// at a cache line.
  void (*matmul_quantized)(const Matrix& weights, int64_t first, int64_t last, const QuantizedActivations& x,
                           int64_t tokens, const float* bias, const float* addend, float* out, int64_t out_stride,
                           void* scratch);

  /// LayerNorm where there is a bias, else RMSNorm, of one token: out = (x - mean) / sqrt(var + eps) * weight + bias.
  /// Returns sqrt(var + eps).
  float (*normalize)(const float* x, int64_t width, const float* weight, const float* bias, float eps, float* out);

  /// x becomes activation(x), or silu(x) * up for SWIGLU. `count` is a multiple of BLOCK.
  void (*activate)(Activation kind, float* x, const float* up, int64_t count);

  /// Writes a token's key and value to the cache, at its position, rounded to the cache's format.
  void (*store_kv)(const HeadCache& cache, int64_t position, const float* key, const float* value);

  /// Attention of queries, of one token or of several, that share a head of keys and values.
  ///
  /// `scratch` has room for ATTEND_QUERIES x padded(head_dim).
  void (*attend)(const HeadCache& cache, const Query* queries, int64_t count, float scale, float* scratch);

  /// scores[j - first] = scale q . k[j] for the keys first <= j < last: what `attend` computes and does not keep.
  void (*attention_scores)(const HeadCache& cache, const float* q, int64_t first, int64_t last, float scale,
                           float* scores);

  /// scores become softmax(scores); all become 0 where there is none above -inf.
  void (*attention_pattern)(float* scores, int64_t count);

  /// out = sum_j pattern[j - first] v[j] over the keys first <= j < last. `scratch` has room for padded(head_dim).
  void (*attention_values)(const HeadCache& cache, const float* pattern, int64_t first, int64_t last, float* out,
                           float* scratch);

  /// weights[i] = e to (logits[i] - largest) / divisor, where no logit is larger; their sum. The same bits everywhere.
  double (*exp_weights)(const float* logits, int64_t count, float largest, float divisor, double* weights);

  /// The largest of some numbers; NaN where one is.
  float (*row_max)(const float* x, int64_t count);

  /// Reads memory and does nothing else; a number that depends on all of it. `count` is a multiple of 64.
  float (*read_loop)(const float* values, int64_t count);

  /// Multiplies and adds in registers and does nothing else, `rounds` times `flops_per_round` float32 operations.
  float (*fma_loop)(int64_t rounds);
  int64_t flops_per_round;
};

/// The tables this processor can run, best first; the last one is `portable`.
const Kernels* const* available_kernels();

}  // namespace nextword
