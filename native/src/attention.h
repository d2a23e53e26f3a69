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
inline Vector load_cached(const uint16_t* p) { return load_fp16(p); }
inline Vector load_cached(const int8_t* p) { return load_int8(p); }

/// float32 -> half precision, to the nearest, ties to even; beyond the range infinite.
inline uint16_t fp32_to_fp16(float value) {
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

/// float32 -> what the cache holds, to the nearest.
template <class Element>
inline Element convert(float value);
template <>
inline float convert<float>(float value) {
  return value;
}
template <>
inline uint16_t convert<uint16_t>(float value) {
  return fp32_to_fp16(value);
}
template <>
inline int8_t convert<int8_t>(float value) {
  return int8_t(rintf(value));
}

/// The scale with which the largest of the numbers becomes 127 or -127.
inline float absmax_scale(const float* x, int64_t count) {
  float absmax = 0;
  for (int64_t i = 0; i < count; ++i) absmax = fabsf(x[i]) > absmax ? fabsf(x[i]) : absmax;
  return absmax / 127.0f;
}

template <class Element>
void store_kv_as(const HeadCache& cache, int64_t position, const float* key, const float* value) {
  float key_factor = 1, value_factor = 1;
  if (sizeof(Element) == 1) {
    const float key_scale = absmax_scale(key, cache.head_dim), value_scale = absmax_scale(value, cache.head_dim);
    cache.key_scales[position] = key_scale, cache.value_scales[position] = value_scale;
    key_factor = key_scale > 0 ? 1.0f / key_scale : 0, value_factor = value_scale > 0 ? 1.0f / value_scale : 0;
  }
  Element* keys =
      static_cast<Element*>(cache.keys) + position / KEY_GROUP * cache.head_dim * KEY_GROUP + position % KEY_GROUP;
  Element* values = static_cast<Element*>(cache.values) + position * cache.value_stride;
  for (int64_t c = 0; c < cache.head_dim; ++c) {
    keys[c * KEY_GROUP] = convert<Element>(key[c] * key_factor);
    values[c] = convert<Element>(value[c] * value_factor);
  }
}

void store_kv(const HeadCache& cache, int64_t position, const float* key, const float* value) {
  switch (cache.format) {
    case CacheFormat::F32: return store_kv_as<float>(cache, position, key, value);
    case CacheFormat::F16: return store_kv_as<uint16_t>(cache, position, key, value);
    case CacheFormat::INT8: return store_kv_as<int8_t>(cache, position, key, value);
  }
}

// -- attention --------------------------------------------------------------------------------------------------------

constexpr int VECTORS = 4;              // of keys, or of channels, at once
constexpr int QUERY_TILE = TOKEN_TILE;  // as many sums as a micro-kernel of a matrix product has
static_assert(QUERY_TILE <= MAX_QUERY_TILE);

inline int64_t group_begin(int64_t key) { return key / KEY_GROUP * KEY_GROUP; }
inline int64_t group_end(int64_t key) { return group_begin(key + KEY_GROUP - 1); }

/// q . k * scale of COUNT queries with the keys of whole groups, begin <= j < end.
template <class Element, int COUNT>
void qk_scores(const HeadCache& cache, const Query* queries, int64_t begin, int64_t end, float scale, float* scores,
               int64_t stride) {
  for (; begin < end; begin += VECTORS * WIDTH) {
    const Element* keys =
        static_cast<const Element*>(cache.keys) + begin / KEY_GROUP * cache.head_dim * KEY_GROUP + begin % KEY_GROUP;
    Vector sums[COUNT][VECTORS];
    for (int n = 0; n < COUNT; ++n)
      for (int i = 0; i < VECTORS; ++i) sums[n][i] = zero();
    for (int64_t c = 0; c < cache.head_dim; ++c, keys += KEY_GROUP)
      for (int i = 0; i < VECTORS; ++i) {
        const Vector k = load_cached(keys + i * WIDTH);
        for (int n = 0; n < COUNT; ++n) sums[n][i] = fma(broadcast(queries[n].q[c]), k, sums[n][i]);
      }
    for (int n = 0; n < COUNT; ++n)
      for (int i = 0; i < VECTORS; ++i) {
        Vector factor = broadcast(scale);
        if (sizeof(Element) == 1) factor = factor * load(cache.key_scales + begin + i * WIDTH);
        store(scores + n * stride + begin + i * WIDTH, sums[n][i] * factor);
      }
  }
}

/// A query's scores become exp(score - maximum); returns their sum, by which a softmax is still to be divided. Keys
/// that the query does not see weigh nothing.
inline float softmax_exp(float* scores, const Query& query) {
  const int64_t begin = group_begin(query.first), end = group_end(query.last);
  for (int64_t j = begin; j < query.first; ++j) scores[j] = -HUGE_VALF;
  for (int64_t j = query.last; j < end; ++j) scores[j] = -HUGE_VALF;
  Vector highest = load(scores + begin);
  for (int64_t j = begin + WIDTH; j < end; j += WIDTH) highest = max(highest, load(scores + j));
  const Vector maximum = broadcast(reduce_max(highest));
  Vector total = zero();
  for (int64_t j = begin; j < end; j += WIDTH) {
    const Vector weight = exp(load(scores + j) - maximum);
    store(scores + j, weight);
    total = total + weight;
  }
  return reduce_add(total);
}

/// `WIDE` vectors of channels, from channel `c` on, of COUNT queries: the weighted sum of the values, key after key.
template <class Element, int COUNT, int WIDE>
inline void weighted_sum_v(const HeadCache& cache, const Query* queries, const float* weights, int64_t stride,
                           int64_t c, const float* inverse_sums) {
  Vector sums[COUNT][WIDE];
  for (int n = 0; n < COUNT; ++n)
    for (int i = 0; i < WIDE; ++i) sums[n][i] = zero();
  const Element* values = static_cast<const Element*>(cache.values) + c;
  const auto add = [&](int64_t j, auto visible) {
    Vector v[WIDE];
    for (int i = 0; i < WIDE; ++i) v[i] = load_cached(values + j * cache.value_stride + i * WIDTH);
    for (int n = 0; n < COUNT; ++n) {
      if (!visible(queries[n])) continue;
      float weight = weights[n * stride + j];
      if (sizeof(Element) == 1) weight *= cache.value_scales[j];
      for (int i = 0; i < WIDE; ++i) sums[n][i] = fma(broadcast(weight), v[i], sums[n][i]);
    }
  };
  // Keys that all queries see lie in between those that some of them see.
  int64_t begin = queries[0].first, from = begin, to = queries[0].last, end = to;
  for (int n = 1; n < COUNT; ++n) {
    begin = min(begin, queries[n].first), from = max(from, queries[n].first);
    to = min(to, queries[n].last), end = max(end, queries[n].last);
  }
  from = min(from, end), to = max(to, from);
  for (int64_t j = begin; j < from; ++j) add(j, [j](const Query& query) { return query.first <= j && j < query.last; });
  for (int64_t j = from; j < to; ++j) add(j, [](const Query&) { return true; });
  for (int64_t j = to; j < end; ++j) add(j, [j](const Query& query) { return query.first <= j && j < query.last; });
  for (int n = 0; n < COUNT; ++n)
    for (int i = 0; i < WIDE; ++i) {
      float lanes[WIDTH];
      store(lanes, sums[n][i] * broadcast(inverse_sums[n]));
      const int64_t channels = min(WIDTH, cache.head_dim - c - i * WIDTH);
      memcpy(queries[n].out + c + i * WIDTH, lanes, size_t(channels) * sizeof(float));
    }
}

template <class Element, int COUNT>
void attend_tile(const HeadCache& cache, const Query* queries, float scale, float* scores) {
  int64_t first = queries[0].first, last = queries[0].last;
  for (int n = 1; n < COUNT; ++n) first = min(first, queries[n].first), last = max(last, queries[n].last);
  const int64_t stride = group_end(last);
  qk_scores<Element, COUNT>(cache, queries, group_begin(first), stride, scale, scores, stride);
  float inverse_sums[COUNT];
  for (int n = 0; n < COUNT; ++n) inverse_sums[n] = 1.0f / softmax_exp(scores + n * stride, queries[n]);
  for (int64_t c = 0; c < cache.head_dim; c += VECTORS * WIDTH) {
    switch (min(VECTORS, (cache.head_dim - c + WIDTH - 1) / WIDTH)) {
      case 4: weighted_sum_v<Element, COUNT, 4>(cache, queries, scores, stride, c, inverse_sums); break;
      case 3: weighted_sum_v<Element, COUNT, 3>(cache, queries, scores, stride, c, inverse_sums); break;
      case 2: weighted_sum_v<Element, COUNT, 2>(cache, queries, scores, stride, c, inverse_sums); break;
      default: weighted_sum_v<Element, COUNT, 1>(cache, queries, scores, stride, c, inverse_sums);
    }
  }
}

template <class Element>
void attend_as(const HeadCache& cache, const Query* queries, int64_t count, float scale, float* scores) {
  for (; count >= QUERY_TILE; count -= QUERY_TILE, queries += QUERY_TILE)
    attend_tile<Element, QUERY_TILE>(cache, queries, scale, scores);
  switch (count) {
    case 3: return attend_tile<Element, 3>(cache, queries, scale, scores);
    case 2: return attend_tile<Element, 2>(cache, queries, scale, scores);
    case 1: return attend_tile<Element, 1>(cache, queries, scale, scores);
    default: return;
  }
}

void attend(const HeadCache& cache, const Query* queries, int64_t count, float scale, float* scores) {
  switch (cache.format) {
    case CacheFormat::F32: return attend_as<float>(cache, queries, count, scale, scores);
    case CacheFormat::F16: return attend_as<uint16_t>(cache, queries, count, scale, scores);
    case CacheFormat::INT8: return attend_as<int8_t>(cache, queries, count, scale, scores);
  }
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
