// One vector of float32 lanes, as wide as the instruction set has them. kernels.cpp is written once on top of this and
// compiled once for each instruction set; every name lies in a namespace of its own (NEXTWORD_ISA), so that the linker
// never takes one set's code for another's.
//
// `fma(a, b, c)` is a * b + c, rounded once where the instruction set has it. Rounding therefore differs between
// instruction sets; within one it is always the same.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(NEXTWORD_AVX512) || defined(NEXTWORD_AVX2)
#include <immintrin.h>
#elif defined(NEXTWORD_NEON)
#include <arm_neon.h>
#else
#include <cmath>
#endif

#include "fp16.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

constexpr int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

/// Calls memory to the first-level cache. The address need not be valid.
inline void prefetch(const uint8_t* p) {
#if defined(__GNUC__) || defined(__clang__)
  __builtin_prefetch(p);
#elif defined(NEXTWORD_AVX512) || defined(NEXTWORD_AVX2)
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
#else
  (void)p;
#endif
}

#if defined(NEXTWORD_AVX512)

struct Vector { __m512 v; };
constexpr int WIDTH = 16;
constexpr int TOKEN_TILE = 4;  // times four rows: 16 sums in registers, of 32

inline Vector zero() { return {_mm512_setzero_ps()}; }
inline Vector broadcast(float x) { return {_mm512_set1_ps(x)}; }
inline Vector load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, Vector a) { _mm512_storeu_ps(p, a.v); }
inline Vector operator+(Vector a, Vector b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vector operator-(Vector a, Vector b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vector operator*(Vector a, Vector b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vector operator/(Vector a, Vector b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vector fma(Vector a, Vector b, Vector c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vector max(Vector a, Vector b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vector min(Vector a, Vector b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vector nearest(Vector a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
/// 2^n for whole n from -126 to 127.
inline Vector power_of_two(Vector n) {
  const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23))};
}
inline Vector load_fp16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline Vector load_bf16(const uint16_t* p) {
  const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(bits, 16))};
}
inline Vector load_int8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
/// `scale * q + offset` for the 32 four-bit numbers of a block: the low halves of its 16 bytes, then the high ones.
inline void load_int4(const uint8_t* p, Vector scale, Vector offset, Vector* out) {
  const __m512 numbers = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512 table = _mm512_fmadd_ps(numbers, scale.v, offset.v);
  const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  out[0].v = _mm512_permutexvar_ps(bytes, table);  // looks at the lowest four bits only
  out[1].v = _mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), table);
}
/// A half-precision number in every lane; or two that lie one behind the other, each in a vector of its own.
inline Vector broadcast_fp16(const uint8_t* p) {
  int16_t half;
  std::memcpy(&half, p, sizeof half);
  return {_mm512_cvtph_ps(_mm256_set1_epi16(half))};
}
inline void broadcast_fp16_pair(const uint8_t* p, Vector* first, Vector* second) {
  int32_t halves;
  std::memcpy(&halves, p, sizeof halves);
  const __m512 both = _mm512_cvtph_ps(_mm256_set1_epi32(halves));
  *first = {_mm512_moveldup_ps(both)}, *second = {_mm512_movehdup_ps(both)};
}
/// The sum of the lanes: lane i and i + 8, then i + 4, i + 2, i + 1.
inline float reduce_add(Vector a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
/// Four such sums at once, each the same additions.
inline void reduce_add_x4(const Vector* a, float* out) {
  const auto halves = [](__m512 x, __m512 y) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
  };
  const __m512 ab = halves(a[0].v, a[1].v), cd = halves(a[2].v, a[3].v);
  const __m512 fours = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  const __m512 twos = _mm512_add_ps(fours, _mm512_permute_ps(fours, 0x4e));
  const __m512 ones = _mm512_add_ps(twos, _mm512_permute_ps(twos, 0xb1));
  const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, ones)));
}
inline float reduce_max(Vector a) { return _mm512_reduce_max_ps(a.v); }

#elif defined(NEXTWORD_AVX2)

struct Vector { __m256 v; };
constexpr int WIDTH = 8;
constexpr int TOKEN_TILE = 3;  // times four rows: 12 sums in registers, of 16

inline Vector zero() { return {_mm256_setzero_ps()}; }
inline Vector broadcast(float x) { return {_mm256_set1_ps(x)}; }
inline Vector load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store(float* p, Vector a) { _mm256_storeu_ps(p, a.v); }
inline Vector operator+(Vector a, Vector b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vector operator-(Vector a, Vector b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vector operator*(Vector a, Vector b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vector operator/(Vector a, Vector b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vector fma(Vector a, Vector b, Vector c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vector max(Vector a, Vector b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vector min(Vector a, Vector b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vector nearest(Vector a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline Vector power_of_two(Vector n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
}
inline Vector load_fp16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline Vector load_bf16(const uint16_t* p) {
  const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(bits, 16))};
}
inline Vector load_int8(const int8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}
inline void load_int4(const uint8_t* p, Vector scale, Vector offset, Vector* out) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), mask = _mm_set1_epi8(15);
  const __m128i low = _mm_and_si128(bytes, mask), high = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
  const auto value = [&](__m128i eight) {
    return Vector{_mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight)), scale.v, offset.v)};
  };
  out[0] = value(low), out[1] = value(_mm_unpackhi_epi64(low, low));
  out[2] = value(high), out[3] = value(_mm_unpackhi_epi64(high, high));
}
inline Vector broadcast_fp16(const uint8_t* p) {
  int16_t half;
  std::memcpy(&half, p, sizeof half);
  return {_mm256_cvtph_ps(_mm_set1_epi16(half))};
}
inline void broadcast_fp16_pair(const uint8_t* p, Vector* first, Vector* second) {
  int32_t halves;
  std::memcpy(&halves, p, sizeof halves);
  const __m256 both = _mm256_cvtph_ps(_mm_set1_epi32(halves));
  *first = {_mm256_moveldup_ps(both)}, *second = {_mm256_movehdup_ps(both)};
}
inline float reduce_add(Vector a) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline void reduce_add_x4(const Vector* a, float* out) {
  const auto halves = [](__m256 x, __m256 y) {
    return _mm256_castps_pd(_mm256_add_ps(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31)));
  };
  const __m256d ab = halves(a[0].v, a[1].v), cd = halves(a[2].v, a[3].v);
  const __m256 twos =
      _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd)), _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd)));
  const __m256 ones = _mm256_add_ps(_mm256_permute_ps(twos, 0x88), _mm256_permute_ps(twos, 0xdd));
  _mm_storeu_ps(out, _mm_unpacklo_ps(_mm256_castps256_ps128(ones), _mm256_extractf128_ps(ones, 1)));
}
inline float reduce_max(Vector a) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

#elif defined(NEXTWORD_NEON)

struct Vector { float32x4_t v; };
constexpr int WIDTH = 4;
constexpr int TOKEN_TILE = 4;  // times four rows: 16 sums in registers, of 32

inline Vector zero() { return {vdupq_n_f32(0)}; }
inline Vector broadcast(float x) { return {vdupq_n_f32(x)}; }
inline Vector load(const float* p) { return {vld1q_f32(p)}; }
inline void store(float* p, Vector a) { vst1q_f32(p, a.v); }
inline Vector operator+(Vector a, Vector b) { return {vaddq_f32(a.v, b.v)}; }
inline Vector operator-(Vector a, Vector b) { return {vsubq_f32(a.v, b.v)}; }
inline Vector operator*(Vector a, Vector b) { return {vmulq_f32(a.v, b.v)}; }
inline Vector operator/(Vector a, Vector b) { return {vdivq_f32(a.v, b.v)}; }
inline Vector fma(Vector a, Vector b, Vector c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline Vector max(Vector a, Vector b) { return {vmaxq_f32(a.v, b.v)}; }
inline Vector min(Vector a, Vector b) { return {vminq_f32(a.v, b.v)}; }
inline Vector nearest(Vector a) { return {vrndnq_f32(a.v)}; }
inline Vector power_of_two(Vector n) {
  const int32x4_t exponent = vaddq_s32(vcvtnq_s32_f32(n.v), vdupq_n_s32(127));
  return {vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23))};
}
inline Vector load_fp16(const uint16_t* p) { return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))}; }
inline Vector load_bf16(const uint16_t* p) { return {vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16))}; }
inline Vector load_int8(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof four);
  const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)))};
}
inline void load_int4(const uint8_t* p, Vector scale, Vector offset, Vector* out) {
  const uint8x16_t bytes = vld1q_u8(p);
  const uint8x16_t halves[2] = {vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8(bytes, 4)};
  for (int half = 0; half < 2; ++half) {
    const uint16x8_t low = vmovl_u8(vget_low_u8(halves[half])), high = vmovl_u8(vget_high_u8(halves[half]));
    const uint32x4_t fours[4] = {vmovl_u16(vget_low_u16(low)), vmovl_u16(vget_high_u16(low)),
                                 vmovl_u16(vget_low_u16(high)), vmovl_u16(vget_high_u16(high))};
    for (int i = 0; i < 4; ++i) out[4 * half + i].v = vfmaq_f32(offset.v, vcvtq_f32_u32(fours[i]), scale.v);
  }
}
inline float reduce_add(Vector a) {
  const float32x2_t two = vadd_f32(vget_low_f32(a.v), vget_high_f32(a.v));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
inline void reduce_add_x4(const Vector* a, float* out) {
  const auto halves = [](float32x4_t x, float32x4_t y) {
    return vaddq_f32(vcombine_f32(vget_low_f32(x), vget_low_f32(y)), vcombine_f32(vget_high_f32(x), vget_high_f32(y)));
  };
  vst1q_f32(out, vpaddq_f32(halves(a[0].v, a[1].v), halves(a[2].v, a[3].v)));
}
inline float reduce_max(Vector a) { return vmaxvq_f32(a.v); }

#else  // any processor: plain loops, which the compiler turns into what vectors it has

struct Vector { float v[8]; };
constexpr int WIDTH = 8;
constexpr int TOKEN_TILE = 2;

// clang-format off: one line an operation, as above
template <class Make>
inline Vector make(Make value_of) {
  Vector a;
  for (int i = 0; i < WIDTH; ++i) a.v[i] = value_of(i);
  return a;
}
inline Vector broadcast(float x) { return make([&](int) { return x; }); }
inline Vector zero() { return broadcast(0.0f); }
inline Vector load(const float* p) { return make([&](int i) { return p[i]; }); }
inline void store(float* p, Vector a) { std::memcpy(p, a.v, sizeof a.v); }
inline Vector operator+(Vector a, Vector b) { return make([&](int i) { return a.v[i] + b.v[i]; }); }
inline Vector operator-(Vector a, Vector b) { return make([&](int i) { return a.v[i] - b.v[i]; }); }
inline Vector operator*(Vector a, Vector b) { return make([&](int i) { return a.v[i] * b.v[i]; }); }
inline Vector operator/(Vector a, Vector b) { return make([&](int i) { return a.v[i] / b.v[i]; }); }
inline Vector fma(Vector a, Vector b, Vector c) { return make([&](int i) { return a.v[i] * b.v[i] + c.v[i]; }); }
inline Vector max(Vector a, Vector b) { return make([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
inline Vector min(Vector a, Vector b) { return make([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
inline Vector nearest(Vector a) { return make([&](int i) { return std::nearbyint(a.v[i]); }); }
inline Vector power_of_two(Vector n) {
  return make([&](int i) { return fp32_from_bits(uint32_t(int32_t(n.v[i]) + 127) << 23); });
}
inline Vector load_fp16(const uint16_t* p) { return make([&](int i) { return fp16_to_fp32(p[i]); }); }
inline Vector load_bf16(const uint16_t* p) { return make([&](int i) { return fp32_from_bits(uint32_t(p[i]) << 16); }); }
inline Vector load_int8(const int8_t* p) { return make([&](int i) { return float(p[i]); }); }
// clang-format on
inline void load_int4(const uint8_t* p, Vector scale, Vector offset, Vector* out) {
  for (int i = 0; i < 16; ++i) {
    out[i / WIDTH].v[i % WIDTH] = float(p[i] & 15) * scale.v[0] + offset.v[0];
    out[(16 + i) / WIDTH].v[i % WIDTH] = float(p[i] >> 4) * scale.v[0] + offset.v[0];
  }
}
inline float reduce_add(Vector a) {
  for (int half = WIDTH / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  return a.v[0];
}
inline void reduce_add_x4(const Vector* a, float* out) {
  for (int i = 0; i < 4; ++i) out[i] = reduce_add(a[i]);
}
inline float reduce_max(Vector a) {
  float highest = a.v[0];
  for (int i = 1; i < WIDTH; ++i) highest = a.v[i] > highest ? a.v[i] : highest;
  return highest;
}

#endif

#if !defined(NEXTWORD_AVX512) && !defined(NEXTWORD_AVX2)  // those convert in the vector itself
inline Vector broadcast_fp16(const uint8_t* p) {
  uint16_t half;
  std::memcpy(&half, p, sizeof half);
  return broadcast(fp16_to_fp32(half));
}
inline void broadcast_fp16_pair(const uint8_t* p, Vector* first, Vector* second) {
  *first = broadcast_fp16(p), *second = broadcast_fp16(p + 2);
}
#endif

/// e^x to about two units in the last place, for x up to 88; anything below -87.3, -inf too, gives 1e-38.
inline Vector exp(Vector x) {
  // x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor series, whose next term is below 4e-9.
  const Vector limited = max(min(x, broadcast(88.0f)), broadcast(-87.3f));
  const Vector n = nearest(limited * broadcast(1.44269504088896341f));
  const Vector r = fma(n, broadcast(2.12194440e-4f), fma(n, broadcast(-0.693359375f), limited));
  Vector p = broadcast(1.0f / 5040);
  p = fma(p, r, broadcast(1.0f / 720));
  p = fma(p, r, broadcast(1.0f / 120));
  p = fma(p, r, broadcast(1.0f / 24));
  p = fma(p, r, broadcast(1.0f / 6));
  p = fma(p, r, broadcast(0.5f));
  p = fma(p, r, broadcast(1.0f));
  p = fma(p, r, broadcast(1.0f));
  return p * power_of_two(n);
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
