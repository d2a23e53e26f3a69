// The kernels, written once over simd.h and compiled once for each instruction set.
//
// Nothing here allocates, and nothing from the standard library's templates is used: an inline function compiled for a
// wider instruction set could otherwise be chosen by the linker for everybody.
#include "kernels.h"

#include <math.h>

#include "simd.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

constexpr int PER_BLOCK = BLOCK / WIDTH;

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

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
      float* to = scratch;
      for (int64_t r = begin; r < end; ++r)
        for (int64_t b = 0; b < blocks; ++b, to += BLOCK) {
          Vector w[PER_BLOCK];
          Row<FORMAT>::block(m.row(r), b, w);
          for (int i = 0; i < PER_BLOCK; ++i) store(to + i * WIDTH, w[i]);
        }
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

template <Format FORMAT>
void unpack_format(const Matrix& m, int64_t row, float* out) {
  for (int64_t b = 0; b < m.blocks(); ++b) {
    Vector w[PER_BLOCK];
    Row<FORMAT>::block(m.row(row), b, w);
    for (int i = 0; i < PER_BLOCK; ++i) store(out + b * BLOCK + i * WIDTH, w[i]);
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

// -- norms and activations --------------------------------------------------------------------------------------------

void normalize(const float* x, int64_t width, const float* weight, const float* bias, float eps, float* out) {
  const int64_t whole = width / WIDTH * WIDTH;
  float mean = 0;
  if (bias) {
    Vector total = zero();
    for (int64_t i = 0; i < whole; i += WIDTH) total = total + load(x + i);
    float rest = sum(total);
    for (int64_t i = whole; i < width; ++i) rest += x[i];
    mean = rest / float(width);
  }
  Vector squares = zero();
  for (int64_t i = 0; i < whole; i += WIDTH) {
    const Vector centred = load(x + i) - all(mean);
    squares = fma(centred, centred, squares);
  }
  float total = sum(squares);
  for (int64_t i = whole; i < width; ++i) total += (x[i] - mean) * (x[i] - mean);
  const float factor = 1.0f / sqrtf(total / float(width) + eps);
  for (int64_t i = 0; i < whole; i += WIDTH) {
    const Vector scaled = (load(x + i) - all(mean)) * all(factor) * load(weight + i);
    store(out + i, bias ? scaled + load(bias + i) : scaled);
  }
  for (int64_t i = whole; i < width; ++i) {
    const float scaled = (x[i] - mean) * factor * weight[i];
    out[i] = bias ? scaled + bias[i] : scaled;
  }
}

inline Vector silu(Vector x) { return x / (all(1.0f) + exp(zero() - x)); }

/// x / 2 (1 + erf(x / sqrt 2)); erf to 1.5e-7 by Abramowitz and Stegun's 7.1.26.
inline Vector gelu(Vector x) {
  const Vector size = max(x, zero() - x), z = size * all(0.70710678118654752f);
  const Vector t = all(1.0f) / fma(all(0.3275911f), z, all(1.0f));
  Vector p = all(1.061405429f);
  p = fma(p, t, all(-1.453152027f));
  p = fma(p, t, all(1.421413741f));
  p = fma(p, t, all(-0.284496736f));
  p = fma(p, t, all(0.254829592f));
  const Vector erf = all(1.0f) - p * t * exp(zero() - z * z);
  return fma(size, erf, x) * all(0.5f);
}

/// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
inline Vector gelu_tanh(Vector x) {
  const Vector inner = x * fma(x * x, all(0.044715f * 0.79788456080286536f), all(0.79788456080286536f));
  return x - x / (exp(inner + inner) + all(1.0f));
}

void activate(Activation kind, float* x, const float* up, int64_t count) {
  for (int64_t i = 0; i < count; i += WIDTH) {
    Vector v = load(x + i);
    switch (kind) {
      case Activation::GELU: v = gelu(v); break;
      case Activation::GELU_TANH: v = gelu_tanh(v); break;
      case Activation::RELU_SQUARED: v = max(v, zero()), v = v * v; break;
      case Activation::SWIGLU: v = silu(v) * load(up + i); break;
    }
    store(x + i, v);
  }
}

// -- keys and values --------------------------------------------------------------------------------------------------

inline Vector load_cached(const float* p) { return load(p); }
inline Vector load_cached(const uint16_t* p) { return load_half(p); }
inline Vector load_cached(const int8_t* p) { return load_int8(p); }

/// float32 -> half precision, to the nearest, ties to even; beyond the range infinite.
inline uint16_t half_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  const uint16_t sign = uint16_t(bits >> 16 & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits >= 0x7f800000u) return uint16_t(sign | (bits > 0x7f800000u ? 0x7e00u : 0x7c00u));
  if (bits < 0x38800000u) {  // below 2^-14: a multiple of 2^-24; adding 0.5 rounds it there
    float shifted;
    memcpy(&shifted, &bits, sizeof shifted);
    shifted += 0.5f;
    memcpy(&bits, &shifted, sizeof bits);
    return uint16_t(sign | (bits - 0x3f000000u));
  }
  bits += 0xfffu + (bits >> 13 & 1u) - 0x38000000u;
  return uint16_t(sign | (bits >= 0x0f800000u ? 0x7c00u : bits >> 13));
}

template <class Element>
inline Element rounded(float value);
template <>
inline float rounded<float>(float value) { return value; }
template <>
inline uint16_t rounded<uint16_t>(float value) { return half_of_float(value); }
template <>
inline int8_t rounded<int8_t>(float value) { return int8_t(rintf(value)); }

inline float scale_of_int8(const float* x, int64_t count) {
  float found = 0;
  for (int64_t i = 0; i < count; ++i) found = fabsf(x[i]) > found ? fabsf(x[i]) : found;
  return found / 127.0f;
}

template <class Element>
void remember_as(const HeadCache& cache, int64_t position, const float* key, const float* value) {
  float key_factor = 1, value_factor = 1;
  if (sizeof(Element) == 1) {
    const float key_scale = scale_of_int8(key, cache.head_dim), value_scale = scale_of_int8(value, cache.head_dim);
    cache.key_scales[position] = key_scale, cache.value_scales[position] = value_scale;
    key_factor = key_scale > 0 ? 1.0f / key_scale : 0, value_factor = value_scale > 0 ? 1.0f / value_scale : 0;
  }
  Element* keys = static_cast<Element*>(cache.keys) + position / KEY_GROUP * cache.head_dim * KEY_GROUP + position % KEY_GROUP;
  Element* values = static_cast<Element*>(cache.values) + position * cache.value_stride;
  for (int64_t c = 0; c < cache.head_dim; ++c) {
    keys[c * KEY_GROUP] = rounded<Element>(key[c] * key_factor);
    values[c] = rounded<Element>(value[c] * value_factor);
  }
}

void remember(const HeadCache& cache, int64_t position, const float* key, const float* value) {
  switch (cache.format) {
    case CacheFormat::F32: return remember_as<float>(cache, position, key, value);
    case CacheFormat::F16: return remember_as<uint16_t>(cache, position, key, value);
    case CacheFormat::INT8: return remember_as<int8_t>(cache, position, key, value);
  }
}

// -- attention --------------------------------------------------------------------------------------------------------

constexpr int VECTORS = 4;  // of keys, or of channels, at once

/// The scores of HEADS queries with the keys of the groups that hold first <= j < last; -inf outside of it.
template <class Element, int HEADS>
void score(const HeadCache& cache, const float* q, int64_t stride, int64_t first, int64_t last, float scale, float* scores,
           int64_t score_stride) {
  for (int64_t begin = first / KEY_GROUP * KEY_GROUP; begin < last; begin += VECTORS * WIDTH) {
    const Element* keys = static_cast<const Element*>(cache.keys) + begin / KEY_GROUP * cache.head_dim * KEY_GROUP + begin % KEY_GROUP;
    Vector sums[HEADS][VECTORS];
    for (int h = 0; h < HEADS; ++h)
      for (int i = 0; i < VECTORS; ++i) sums[h][i] = zero();
    for (int64_t c = 0; c < cache.head_dim; ++c, keys += KEY_GROUP)
      for (int i = 0; i < VECTORS; ++i) {
        const Vector k = load_cached(keys + i * WIDTH);
        for (int h = 0; h < HEADS; ++h) sums[h][i] = fma(all(q[h * stride + c]), k, sums[h][i]);
      }
    for (int h = 0; h < HEADS; ++h)
      for (int i = 0; i < VECTORS; ++i) {
        Vector factor = all(scale);
        if (sizeof(Element) == 1) factor = factor * load(cache.key_scales + begin + i * WIDTH);
        store(scores + h * score_stride + begin + i * WIDTH, sums[h][i] * factor);
      }
  }
  const int64_t begin = first / KEY_GROUP * KEY_GROUP, end = (last + KEY_GROUP - 1) / KEY_GROUP * KEY_GROUP;
  for (int h = 0; h < HEADS; ++h) {
    for (int64_t j = begin; j < first; ++j) scores[h * score_stride + j] = -HUGE_VALF;
    for (int64_t j = last; j < end; ++j) scores[h * score_stride + j] = -HUGE_VALF;
  }
}

/// Scores become weights whose sum is returned; they are not divided by it.
inline float weigh(float* scores, int64_t begin, int64_t end) {
  Vector highest = load(scores + begin);
  for (int64_t j = begin + WIDTH; j < end; j += WIDTH) highest = max(highest, load(scores + j));
  const Vector top = all(largest(highest));
  Vector total = zero();
  for (int64_t j = begin; j < end; j += WIDTH) {
    const Vector weight = exp(load(scores + j) - top);
    store(scores + j, weight);
    total = total + weight;
  }
  return sum(total);
}

/// `COUNT` vectors of channels, from channel `c` on, of HEADS heads: the weighted sum of the values, key after key.
template <class Element, int HEADS, int COUNT>
inline void gather(const HeadCache& cache, const float* weights, int64_t weight_stride, int64_t first, int64_t last, int64_t c,
                   const float* factors, float* out, int64_t stride) {
  Vector sums[HEADS][COUNT];
  for (int h = 0; h < HEADS; ++h)
    for (int i = 0; i < COUNT; ++i) sums[h][i] = zero();
  const Element* values = static_cast<const Element*>(cache.values) + first * cache.value_stride + c;
  for (int64_t j = first; j < last; ++j, values += cache.value_stride) {
    Vector v[COUNT];
    for (int i = 0; i < COUNT; ++i) v[i] = load_cached(values + i * WIDTH);
    for (int h = 0; h < HEADS; ++h) {
      float weight = weights[h * weight_stride + j];
      if (sizeof(Element) == 1) weight *= cache.value_scales[j];
      for (int i = 0; i < COUNT; ++i) sums[h][i] = fma(all(weight), v[i], sums[h][i]);
    }
  }
  for (int h = 0; h < HEADS; ++h)
    for (int i = 0; i < COUNT; ++i) {
      float lanes[WIDTH];
      store(lanes, sums[h][i] * all(factors[h]));
      const int64_t channels = least(WIDTH, cache.head_dim - c - i * WIDTH);
      memcpy(out + h * stride + c + i * WIDTH, lanes, size_t(channels) * sizeof(float));
    }
}

template <class Element, int HEADS>
void attend_heads(const HeadCache& cache, const float* q, int64_t stride, int64_t first, int64_t last, float scale, float* scores,
                  float* out) {
  const int64_t begin = first / KEY_GROUP * KEY_GROUP, end = (last + KEY_GROUP - 1) / KEY_GROUP * KEY_GROUP;
  score<Element, HEADS>(cache, q, stride, first, last, scale, scores, end);
  float factors[HEADS];
  for (int h = 0; h < HEADS; ++h) factors[h] = 1.0f / weigh(scores + h * end, begin, end);
  for (int64_t c = 0; c < cache.head_dim; c += VECTORS * WIDTH) {
    switch (least(VECTORS, (cache.head_dim - c + WIDTH - 1) / WIDTH)) {
      case 4: gather<Element, HEADS, 4>(cache, scores, end, first, last, c, factors, out, stride); break;
      case 3: gather<Element, HEADS, 3>(cache, scores, end, first, last, c, factors, out, stride); break;
      case 2: gather<Element, HEADS, 2>(cache, scores, end, first, last, c, factors, out, stride); break;
      default: gather<Element, HEADS, 1>(cache, scores, end, first, last, c, factors, out, stride);
    }
  }
}

constexpr int HEAD_TILE = 3;

template <class Element>
void attend_as(const HeadCache& cache, const float* q, int64_t stride, int64_t heads, int64_t first, int64_t last, float scale,
               float* scores, float* out) {
  int64_t h = 0;
  for (; h + HEAD_TILE <= heads; h += HEAD_TILE)
    attend_heads<Element, HEAD_TILE>(cache, q + h * stride, stride, first, last, scale, scores, out + h * stride);
  if (heads - h == 2) attend_heads<Element, 2>(cache, q + h * stride, stride, first, last, scale, scores, out + h * stride);
  if (heads - h == 1) attend_heads<Element, 1>(cache, q + h * stride, stride, first, last, scale, scores, out + h * stride);
}

void attend(const HeadCache& cache, const float* q, int64_t stride, int64_t heads, int64_t first, int64_t last, float scale,
            float* scores, float* out) {
  switch (cache.format) {
    case CacheFormat::F32: return attend_as<float>(cache, q, stride, heads, first, last, scale, scores, out);
    case CacheFormat::F16: return attend_as<uint16_t>(cache, q, stride, heads, first, last, scale, scores, out);
    case CacheFormat::INT8: return attend_as<int8_t>(cache, q, stride, heads, first, last, scale, scores, out);
  }
}

// -- the processor's limits -------------------------------------------------------------------------------------------

float read(const float* values, int64_t count) {
  constexpr int LINES = 64 / WIDTH;
  Vector sums[LINES];
  for (int i = 0; i < LINES; ++i) sums[i] = zero();
  for (int64_t at = 0; at < count; at += 64)
    for (int i = 0; i < LINES; ++i) sums[i] = sums[i] + load(values + at + i * WIDTH);
  float total = 0;
  for (int i = 0; i < LINES; ++i) total += sum(sums[i]);
  return total;
}

constexpr int CHAINS = 12;  // independent of each other, and few enough for sixteen registers

float churn(int64_t rounds) {
  Vector sums[CHAINS];
  for (int i = 0; i < CHAINS; ++i) sums[i] = all(float(i));
  const Vector factor = all(0.999f), term = all(0.001f);
  for (int64_t round = 0; round < rounds; ++round)
    for (int i = 0; i < CHAINS; ++i) sums[i] = fma(sums[i], factor, term);
  float total = 0;
  for (int i = 0; i < CHAINS; ++i) total += sum(sums[i]);
  return total;
}

}  // namespace

#define NEXTWORD_STRING_(x) #x
#define NEXTWORD_STRING(x) NEXTWORD_STRING_(x)
extern const Kernels kernels;
const Kernels kernels = {NEXTWORD_STRING(NEXTWORD_ISA), multiply, unpack, normalize, activate, remember, attend,
                         read, churn, CHAINS * WIDTH * 2};

}  // namespace NEXTWORD_ISA
}  // namespace nextword
