// Keys and values, and attention over them. Part of kernels.cpp, which compiles it for each instruction set.
#pragma once

#include <math.h>

#include "kernels.h"
#include "micro_kernel.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

// -- keys and values --------------------------------------------------------------------------------------------------

/// Hands `count` numbers as the cache holds them, to the nearest, to put(index, number); returns their scale.
///
/// In 8 bits the largest becomes 127 or -127. Where one is no finite number all are 0, and the scale is NaN.
template <class Element, class Put>
inline float round_to_cache(const float* x, int64_t count, const Put& put) {
  if constexpr (sizeof(Element) == 1) {
    float absmax = 0, finite = 0;
    for (int64_t i = 0; i < count; ++i) absmax = fabsf(x[i]) > absmax ? fabsf(x[i]) : absmax, finite += x[i] - x[i];
    const bool is_zero = absmax < 1e-30f || finite != 0;
    const float factor = is_zero ? 0 : 127.0f / absmax;
    for (int64_t i = 0; i < count; ++i) put(i, is_zero ? Element(0) : Element(rintf(x[i] * factor)));
    return is_zero ? finite : absmax / 127.0f;
  } else {
    for (int64_t first = 0; first < count; first += WIDTH) {
      const int64_t here = min(WIDTH, count - first);
      float numbers[WIDTH] = {};
      memcpy(numbers, x + first, size_t(here) * sizeof(float));
      Element rounded[WIDTH];
      store(rounded, load(numbers));
      for (int64_t i = 0; i < here; ++i) put(first + i, rounded[i]);
    }
    return 1;
  }
}

template <class Element>
void store_kv_as(const HeadCache& cache, int64_t position, const float* key, const float* value) {
  const int64_t block = position / KEY_BLOCK, at = position % KEY_BLOCK, group = at / KEY_GROUP;
  auto* keys = reinterpret_cast<Element*>(cache.keys(block)) + group * cache.head_dim * KEY_GROUP + at % KEY_GROUP;
  auto* values = reinterpret_cast<Element*>(cache.values(block)) + at * VALUE_GROUP;
  const float key_scale =
      round_to_cache<Element>(key, cache.head_dim, [&](int64_t c, Element k) { keys[c * KEY_GROUP] = k; });
  const float value_scale = round_to_cache<Element>(value, cache.head_dim, [&](int64_t c, Element v) {
    values[c / VALUE_GROUP * KEY_BLOCK * VALUE_GROUP + c % VALUE_GROUP] = v;
  });
  if (sizeof(Element) == 1) cache.key_scales(block)[at] = key_scale, cache.value_scales(block)[at] = value_scale;
}

void store_kv(const HeadCache& cache, int64_t position, const float* key, const float* value) {
  switch (cache.format) {
    case CacheFormat::F32: return store_kv_as<float>(cache, position, key, value);
    case CacheFormat::F16: return store_kv_as<uint16_t>(cache, position, key, value);
    case CacheFormat::INT8: return store_kv_as<int8_t>(cache, position, key, value);
  }
}

// -- attention --------------------------------------------------------------------------------------------------------

// Keys come in blocks; what a query has summed so far is scaled anew when a block holds a higher score. A block's keys
// and values stay in the processor's cache for all queries. A query meets the same blocks in the same order whatever is
// beside it and however its text was cut.
// Source: Dao et al. 2022, "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness".

/// The keys begin <= j < end, of which a query sees a part.
struct KeyBlock {
  int64_t begin, end;

  int64_t number() const { return begin / KEY_BLOCK; }
  int64_t first(const Query& query) const { return max(begin, query.first); }
  int64_t last(const Query& query) const { return min(end, query.last); }
  bool is_seen_by(const Query& query) const { return first(query) < last(query); }
  int64_t groups() const { return (end - begin + KEY_GROUP - 1) / KEY_GROUP; }
};

/// What queries have come to behind some blocks: out is sums / total.
struct Progress {
  float *maximum, *total;
  float* sums;  // [query][stride]
  int64_t stride;

  Progress behind(int64_t queries) const {
    return {maximum + queries, total + queries, sums + queries * stride, stride};
  }
};

/// Vectors of a group that COUNT queries meet at once; the others come next, out of the processor's cache. A group is
/// as wide as it is so that sums enough for three queries stay in registers while memory is read in its order: for one
/// stream the processor calls ahead by itself, and faster than for several.
template <int COUNT>
constexpr int vectors_at_once() {
  return min(KEY_GROUP / WIDTH, groups_for(COUNT));
}

/// Converting numbers keeps it too busy to look far enough ahead: columns are called 64 before they are read.
template <class Element>
constexpr bool PREFETCH = sizeof(Element) < sizeof(float);
constexpr int64_t AHEAD = 64;

/// q . k * scale of the keys of a group of the block.
template <int COUNT, class Element>
inline void qk_scores(const HeadCache& cache, const float* const* q, KeyBlock block, int64_t group, float scale,
                      float (*scores)[KEY_BLOCK]) {
  constexpr int VECTORS = vectors_at_once<COUNT>();
  const auto* keys = reinterpret_cast<const Element*>(cache.keys(block.number())) + group * cache.head_dim * KEY_GROUP;
  for (int64_t at = group * KEY_GROUP; at < (group + 1) * KEY_GROUP; at += VECTORS * WIDTH, keys += VECTORS * WIDTH) {
    Vector sums[VECTORS][COUNT];
    for (int i = 0; i < VECTORS; ++i)
      for (int n = 0; n < COUNT; ++n) sums[i][n] = zero();
    micro_kernel<PREFETCH<Element>>(Groups<Element>{keys, WIDTH, KEY_GROUP, AHEAD * KEY_GROUP}, q, 0, cache.head_dim,
                                    sums);
    for (int i = 0; i < VECTORS; ++i) {
      Vector factor = broadcast(scale);
      if (sizeof(Element) == 1) factor = factor * load(cache.key_scales(block.number()) + at + i * WIDTH);
      for (int n = 0; n < COUNT; ++n) store(scores[n] + at + i * WIDTH, sums[i][n] * factor);
    }
  }
}

/// A query's scores become exp(score - the highest so far), times the scale of the value; returns the factor for what
/// has been summed before. Keys that the query does not see weigh nothing.
template <class Element>
inline float softmax_exp(const HeadCache& cache, const Query& query, KeyBlock block, float* scores, float* maximum,
                         float* total) {
  const int64_t first = block.first(query) - block.begin, last = block.last(query) - block.begin;
  const int64_t from = first / WIDTH * WIDTH, to = (last + WIDTH - 1) / WIDTH * WIDTH;
  for (int64_t j = from; j < first; ++j) scores[j] = -HUGE_VALF;
  for (int64_t j = last; j < to; ++j) scores[j] = -HUGE_VALF;
  const Vector before = broadcast(*maximum);
  Vector highest = before;
  for (int64_t j = from; j < to; j += WIDTH) highest = max(highest, load(scores + j));
  *maximum = reduce_max(highest);
  highest = broadcast(*maximum);
  Vector sum = zero();
  for (int64_t j = from; j < to; j += WIDTH) {
    Vector weight = exp(load(scores + j) - highest);
    sum = sum + weight;
    if (sizeof(Element) == 1) weight = weight * load(cache.value_scales(block.number()) + j);
    store(scores + j, weight);
  }
  float factors[WIDTH];
  store(factors, exp(before - highest));
  *total = *total * factors[0] + reduce_add(sum);
  return factors[0];
}

/// Keys begin <= j < end of a block: weights[query][j - start of the block] and values.
template <class Element>
struct Weighted {
  const HeadCache& cache;
  int64_t begin, end;
  const float (*weights)[KEY_BLOCK];
  const float* factors;  // for what each query has summed before

  /// The sums of COUNT queries become sums * factor + weights . values, key after key.
  template <int COUNT>
  void add_to(const Progress& progress) const {
    constexpr int VECTORS = vectors_at_once<COUNT>();
    const int64_t at = begin % KEY_BLOCK;
    const auto* group = reinterpret_cast<const Element*>(cache.values(begin / KEY_BLOCK)) + at * VALUE_GROUP;
    const float* rows[COUNT];
    for (int n = 0; n < COUNT; ++n) rows[n] = weights[n] + at;
    for (int64_t c = 0; c < progress.stride; c += VECTORS * WIDTH) {
      const auto* values = group + c / VALUE_GROUP * KEY_BLOCK * VALUE_GROUP + c % VALUE_GROUP;
      Vector lanes[VECTORS][COUNT];
      for (int i = 0; i < VECTORS; ++i)
        for (int n = 0; n < COUNT; ++n)
          lanes[i][n] = load(progress.sums + n * progress.stride + c + i * WIDTH) * broadcast(factors[n]);
      micro_kernel<PREFETCH<Element>>(Groups<Element>{values, WIDTH, VALUE_GROUP, AHEAD * VALUE_GROUP}, rows, 0,
                                      end - begin, lanes);
      for (int i = 0; i < VECTORS; ++i)
        for (int n = 0; n < COUNT; ++n) store(progress.sums + n * progress.stride + c + i * WIDTH, lanes[i][n]);
    }
  }
};

/// Takes COUNT queries through a block.
template <int COUNT, class Element>
NOINLINE void attend_block(const HeadCache& cache, const Query* queries, KeyBlock block, float scale,
                           const Progress& progress) {
  float scores[COUNT][KEY_BLOCK], factors[COUNT];
  const float* q[COUNT];
  for (int n = 0; n < COUNT; ++n) q[n] = queries[n].q;
  for (int64_t group = 0; group < block.groups(); ++group)
    qk_scores<COUNT, Element>(cache, q, block, group, scale, scores);

  // The keys that all queries see lie in between those that only some of them see.
  int64_t from = block.begin, to = block.end;
  for (int n = 0; n < COUNT; ++n) {
    factors[n] = 1;
    if (block.is_seen_by(queries[n]))
      factors[n] = softmax_exp<Element>(cache, queries[n], block, scores[n], progress.maximum + n, progress.total + n);
    from = max(from, block.first(queries[n])), to = min(to, block.last(queries[n]));
  }
  to = max(to, from);
  for (int n = 0; n < COUNT; ++n) {
    const int64_t first = block.first(queries[n]), last = min(from, block.last(queries[n]));
    if (first >= last) continue;
    Weighted<Element>{cache, first, last, scores + n, factors + n}.template add_to<1>(progress.behind(n));
    factors[n] = 1;
  }
  Weighted<Element>{cache, from, to, scores, factors}.template add_to<COUNT>(progress);
  const float one = 1;
  for (int n = 0; n < COUNT; ++n) {
    const int64_t first = max(to, block.first(queries[n])), last = block.last(queries[n]);
    if (first < last) Weighted<Element>{cache, first, last, scores + n, &one}.template add_to<1>(progress.behind(n));
  }
}

/// A tile of up to COUNT queries, and what they see of a block.
template <class Element, int COUNT = TILE>
void attend_tile(const HeadCache& cache, const Query* queries, int64_t count, KeyBlock block, float scale,
                 const Progress& progress) {
  if constexpr (COUNT > 1)
    if (count < COUNT) return attend_tile<Element, COUNT - 1>(cache, queries, count, block, scale, progress);
  int64_t first = queries[0].first, last = queries[0].last;
  for (int n = 1; n < COUNT; ++n) first = min(first, queries[n].first), last = max(last, queries[n].last);
  block.end = min(block.end, last);
  if (max(block.begin, first) < block.end) attend_block<COUNT, Element>(cache, queries, block, scale, progress);
}

template <class Element>
void attend_as(const HeadCache& cache, const Query* queries, int64_t count, float scale, float* scratch) {
  float maximum[ATTEND_QUERIES], total[ATTEND_QUERIES];
  const int64_t stride = cache.value_groups() * VALUE_GROUP;
  const Progress progress{maximum, total, scratch, stride};
  int64_t first = queries[0].first, last = queries[0].last;
  for (int64_t n = 0; n < count; ++n) {
    maximum[n] = -HUGE_VALF, total[n] = 0;
    first = min(first, queries[n].first), last = max(last, queries[n].last);
  }
  memset(scratch, 0, size_t(count * stride) * sizeof(float));
  for (KeyBlock block{first / KEY_BLOCK * KEY_BLOCK, 0}; block.begin < last; block.begin += KEY_BLOCK) {
    block.end = block.begin + KEY_BLOCK;
    for (int64_t n = 0; n < count; n += TILE)
      attend_tile<Element>(cache, queries + n, min(TILE, count - n), block, scale, progress.behind(n));
  }
  for (int64_t n = 0; n < count; ++n)
    for (int64_t c = 0; c < cache.head_dim; c += WIDTH) {
      float lanes[WIDTH];
      store(lanes, load(scratch + n * stride + c) * broadcast(1.0f / total[n]));
      memcpy(queries[n].out + c, lanes, size_t(min(WIDTH, cache.head_dim - c)) * sizeof(float));
    }
}

void attend(const HeadCache& cache, const Query* queries, int64_t count, float scale, float* scratch) {
  for (; count > 0; count -= ATTEND_QUERIES, queries += ATTEND_QUERIES) {
    const int64_t here = min(count, ATTEND_QUERIES);
    switch (cache.format) {
      case CacheFormat::F32: attend_as<float>(cache, queries, here, scale, scratch); break;
      case CacheFormat::F16: attend_as<uint16_t>(cache, queries, here, scale, scratch); break;
      case CacheFormat::INT8: attend_as<int8_t>(cache, queries, here, scale, scratch); break;
    }
  }
}

// -- attention step by step, where somebody looks
// -----------------------------------------------------------------------

template <class Element>
void attention_scores_as(const HeadCache& cache, const float* q, int64_t first, int64_t last, float scale,
                         float* scores) {
  float block_scores[1][KEY_BLOCK];
  for (KeyBlock block{first / KEY_BLOCK * KEY_BLOCK, 0}; block.begin < last; block.begin += KEY_BLOCK) {
    block.end = min(block.begin + KEY_BLOCK, last);
    for (int64_t group = 0; group < block.groups(); ++group)
      qk_scores<1, Element>(cache, &q, block, group, scale, block_scores);
    const int64_t from = max(block.begin, first);
    memcpy(scores + from - first, block_scores[0] + from - block.begin, size_t(block.end - from) * sizeof(float));
  }
}

void attention_scores(const HeadCache& cache, const float* q, int64_t first, int64_t last, float scale, float* scores) {
  switch (cache.format) {
    case CacheFormat::F32: return attention_scores_as<float>(cache, q, first, last, scale, scores);
    case CacheFormat::F16: return attention_scores_as<uint16_t>(cache, q, first, last, scale, scores);
    case CacheFormat::INT8: return attention_scores_as<int8_t>(cache, q, first, last, scale, scores);
  }
}

void attention_pattern(float* scores, int64_t count) {
  float highest = -HUGE_VALF, total = 0;
  for (int64_t j = 0; j < count; ++j) highest = scores[j] > highest ? scores[j] : highest;
  if (highest == -HUGE_VALF) highest = 0;  // then every weight is 0, or not a number
  for (int64_t first = 0; first < count; first += WIDTH) {
    const int64_t here = min(WIDTH, count - first);
    float lanes[WIDTH];
    for (int64_t i = 0; i < WIDTH; ++i) lanes[i] = i < here ? scores[first + i] : -HUGE_VALF;
    store(lanes, exp(load(lanes) - broadcast(highest)));  // of -inf it is 1e-38
    for (int64_t i = 0; i < WIDTH; ++i) lanes[i] = i < here && scores[first + i] == -HUGE_VALF ? 0 : lanes[i];
    for (int64_t i = here; i < WIDTH; ++i) lanes[i] = 0;
    total += reduce_add(load(lanes));
    memcpy(scores + first, lanes, size_t(here) * sizeof(float));
  }
  const float factor = total == 0 ? 0 : 1.0f / total;
  for (int64_t j = 0; j < count; ++j) scores[j] *= factor;
}

template <class Element>
void attention_values_as(const HeadCache& cache, const float* pattern, int64_t first, int64_t last, float* out,
                         float* scratch) {
  const int64_t stride = cache.value_groups() * VALUE_GROUP;
  memset(scratch, 0, size_t(stride) * sizeof(float));
  const float one = 1;
  for (int64_t begin = first; begin < last;) {
    const int64_t block = begin / KEY_BLOCK, end = min(last, (block + 1) * KEY_BLOCK);
    float weights[1][KEY_BLOCK];
    for (int64_t j = begin; j < end; ++j) {
      float& weight = weights[0][j % KEY_BLOCK] = pattern[j - first];
      if (sizeof(Element) == 1) weight *= cache.value_scales(block)[j % KEY_BLOCK];
    }
    Weighted<Element>{cache, begin, end, weights, &one}.template add_to<1>({nullptr, nullptr, scratch, stride});
    begin = end;
  }
  memcpy(out, scratch, size_t(cache.head_dim) * sizeof(float));
}

void attention_values(const HeadCache& cache, const float* pattern, int64_t first, int64_t last, float* out,
                      float* scratch) {
  switch (cache.format) {
    case CacheFormat::F32: return attention_values_as<float>(cache, pattern, first, last, out, scratch);
    case CacheFormat::F16: return attention_values_as<uint16_t>(cache, pattern, first, last, out, scratch);
    case CacheFormat::INT8: return attention_values_as<int8_t>(cache, pattern, first, last, out, scratch);
  }
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
