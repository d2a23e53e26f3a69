// Keys and values, and attention over them. Part of kernels.cpp, which compiles it for each instruction set.
#pragma once

#include <math.h>

#include "kernels.h"
#include "simd.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

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

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
