// One vector of 16 float32 lanes on every instruction set: one register of AVX-512, two of AVX2, four of NEON, plain
// numbers elsewhere. kernels.cpp is written once on top of this and compiled once for each instruction set; every name
// lies in a namespace of its own (NEXTWORD_ISA), so that the linker never takes one set's code for another's.
//
// Each operation gives the same bits on every set: those of IEEE 754 do anyway, `fma` is rounded once everywhere, and
// sums of lanes have one order. What is written with them is the same everywhere too, but for the bits inside a NaN.
#pragma once

#include <math.h>

#include <cstdint>
#include <cstring>

#if defined(NEXTWORD_AVX512) || defined(NEXTWORD_AVX2)
#include <immintrin.h>
#elif defined(NEXTWORD_NEON)
#include <arm_neon.h>
#else
#include "fma.h"
#endif

#include "fp16.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

constexpr int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

/// Calls memory to the first-level cache. The address need not be valid.
inline void prefetch(const void* p) {
#if defined(__GNUC__) || defined(__clang__)
  __builtin_prefetch(p);
#elif defined(NEXTWORD_AVX512) || defined(NEXTWORD_AVX2)
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
#else
  (void)p;
#endif
}

// Each kernel a function of its own: what a compiler makes of a loop then does not depend on what is around it.
#define NOINLINE [[gnu::noinline]]
#define INLINE [[gnu::always_inline]] inline  // GCC would rather not, where functions are long

struct Bfloat16 { uint16_t bits; };  // half precision is a plain uint16_t

inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// -- registers: what an instruction set has of its own ----------------------------------------------------------------

#if defined(NEXTWORD_AVX512)

using Register = __m512;
constexpr int REGISTER_WIDTH = 16, REGISTERS = 32;

inline Register broadcast_register(float x) { return _mm512_set1_ps(x); }
inline Register load_register(const float* p) { return _mm512_loadu_ps(p); }
inline void store_register(float* p, Register a) { _mm512_storeu_ps(p, a); }
inline Register add(Register a, Register b) { return _mm512_add_ps(a, b); }
inline Register subtract(Register a, Register b) { return _mm512_sub_ps(a, b); }
inline Register multiply(Register a, Register b) { return _mm512_mul_ps(a, b); }
inline Register divide(Register a, Register b) { return _mm512_div_ps(a, b); }
inline Register multiply_add(Register a, Register b, Register c) { return _mm512_fmadd_ps(a, b, c); }
inline Register maximum(Register a, Register b) { return _mm512_max_ps(a, b); }
inline Register minimum(Register a, Register b) { return _mm512_min_ps(a, b); }
inline Register shift_to_exponent(Register a) {
  return _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(a), 23), _mm512_set1_epi32(0x3f800000)));
}
inline Register load_register(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline void store_register(uint16_t* p, Register a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
inline Register load_register(const Bfloat16* p) {
  const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}
inline Register load_register(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

#elif defined(NEXTWORD_AVX2)

using Register = __m256;
constexpr int REGISTER_WIDTH = 8, REGISTERS = 16;

inline Register broadcast_register(float x) { return _mm256_set1_ps(x); }
inline Register load_register(const float* p) { return _mm256_loadu_ps(p); }
inline void store_register(float* p, Register a) { _mm256_storeu_ps(p, a); }
inline Register add(Register a, Register b) { return _mm256_add_ps(a, b); }
inline Register subtract(Register a, Register b) { return _mm256_sub_ps(a, b); }
inline Register multiply(Register a, Register b) { return _mm256_mul_ps(a, b); }
inline Register divide(Register a, Register b) { return _mm256_div_ps(a, b); }
inline Register multiply_add(Register a, Register b, Register c) { return _mm256_fmadd_ps(a, b, c); }
inline Register maximum(Register a, Register b) { return _mm256_max_ps(a, b); }
inline Register minimum(Register a, Register b) { return _mm256_min_ps(a, b); }
inline Register shift_to_exponent(Register a) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(a), 23), _mm256_set1_epi32(0x3f800000)));
}
inline Register load_register(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline void store_register(uint16_t* p, Register a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
inline Register load_register(const Bfloat16* p) {
  const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
}
inline Register load_register(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

#elif defined(NEXTWORD_NEON)

using Register = float32x4_t;
constexpr int REGISTER_WIDTH = 4, REGISTERS = 32;

inline Register broadcast_register(float x) { return vdupq_n_f32(x); }
inline Register load_register(const float* p) { return vld1q_f32(p); }
inline void store_register(float* p, Register a) { vst1q_f32(p, a); }
inline Register add(Register a, Register b) { return vaddq_f32(a, b); }
inline Register subtract(Register a, Register b) { return vsubq_f32(a, b); }
inline Register multiply(Register a, Register b) { return vmulq_f32(a, b); }
inline Register divide(Register a, Register b) { return vdivq_f32(a, b); }
inline Register multiply_add(Register a, Register b, Register c) { return vfmaq_f32(c, a, b); }
// Not vmaxq_f32 and vminq_f32: of NaN, and of zeros, they choose otherwise.
inline Register maximum(Register a, Register b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline Register minimum(Register a, Register b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline Register shift_to_exponent(Register a) {
  return vreinterpretq_f32_u32(vaddq_u32(vshlq_n_u32(vreinterpretq_u32_f32(a), 23), vdupq_n_u32(0x3f800000)));
}
inline Register load_register(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
inline void store_register(uint16_t* p, Register a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a))); }
inline Register load_register(const Bfloat16* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(&p->bits), 16)); }
inline Register load_register(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof four);
  const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}

#else  // any processor: numbers, of which the compiler makes what vectors it has

using Register = float;
constexpr int REGISTER_WIDTH = 1, REGISTERS = 128;

inline Register broadcast_register(float x) { return x; }
inline Register load_register(const float* p) { return *p; }
inline void store_register(float* p, Register a) { *p = a; }
inline Register add(Register a, Register b) { return a + b; }
inline Register subtract(Register a, Register b) { return a - b; }
inline Register multiply(Register a, Register b) { return a * b; }
inline Register divide(Register a, Register b) { return a / b; }
#ifdef __FP_FAST_FMAF
inline Register multiply_add(Register a, Register b, Register c) { return fmaf(a, b, c); }
#else
inline Register multiply_add(Register a, Register b, Register c) { return emulated_fma(a, b, c); }
#endif
inline Register maximum(Register a, Register b) { return a > b ? a : b; }
inline Register minimum(Register a, Register b) { return a < b ? a : b; }
inline Register shift_to_exponent(Register a) { return fp32_from_bits((bits_of(a) << 23) + 0x3f800000u); }
inline Register load_register(const uint16_t* p) { return fp16_to_fp32(*p); }
/// float32 -> half precision, to the nearest, ties to even; beyond the range infinite.
inline void store_register(uint16_t* p, Register a) {
  const uint32_t bits = bits_of(a) & 0x7fffffffu, sign = bits_of(a) >> 16 & 0x8000u;
  uint32_t half;
  if (bits > 0x7f800000u) half = 0x7e00u;
  else if (bits >= 0x477ff000u) half = 0x7c00u;
  else if (bits >= 0x38800000u) half = (bits + 0xfffu + (bits >> 13 & 1u) - 0x38000000u) >> 13;
  else half = bits_of(fp32_from_bits(bits) + 0.5f) - 0x3f000000u;  // a multiple of 2^-24: adding 0.5 rounds it there
  *p = uint16_t(sign | half);
}
inline Register load_register(const Bfloat16* p) { return fp32_from_bits(uint32_t(p->bits) << 16); }
inline Register load_register(const int8_t* p) { return float(*p); }

#endif

// -- vectors: the same lanes everywhere -------------------------------------------------------------------------------

constexpr int WIDTH = 16;
constexpr int VECTOR_REGISTERS = WIDTH / REGISTER_WIDTH;

struct Vector { Register part[VECTOR_REGISTERS]; };

/// A vector out of its parts: `part_of(i)` is the i-th.
template <class Make>
inline Vector make(Make part_of) {
  Vector a;
  for (int i = 0; i < VECTOR_REGISTERS; ++i) a.part[i] = part_of(i);
  return a;
}

// clang-format off: one line an operation
inline Vector broadcast(float x) { return make([&](int) { return broadcast_register(x); }); }
inline Vector zero() { return broadcast(0.0f); }
template <class Element>
inline Vector load(const Element* p) { return make([&](int i) { return load_register(p + i * REGISTER_WIDTH); }); }
template <class Element>
inline void store(Element* p, Vector a) { for (int i = 0; i < VECTOR_REGISTERS; ++i) store_register(p + i * REGISTER_WIDTH, a.part[i]); }
inline Vector operator+(Vector a, Vector b) { return make([&](int i) { return add(a.part[i], b.part[i]); }); }
inline Vector operator-(Vector a, Vector b) { return make([&](int i) { return subtract(a.part[i], b.part[i]); }); }
inline Vector operator*(Vector a, Vector b) { return make([&](int i) { return multiply(a.part[i], b.part[i]); }); }
inline Vector operator/(Vector a, Vector b) { return make([&](int i) { return divide(a.part[i], b.part[i]); }); }
/// a * b + c, rounded once.
inline Vector fma(Vector a, Vector b, Vector c) { return make([&](int i) { return multiply_add(a.part[i], b.part[i], c.part[i]); }); }
/// a > b ? a : b, and a < b ? a : b: the second where one of them is NaN.
inline Vector max(Vector a, Vector b) { return make([&](int i) { return maximum(a.part[i], b.part[i]); }); }
inline Vector min(Vector a, Vector b) { return make([&](int i) { return minimum(a.part[i], b.part[i]); }); }
// clang-format on

/// All lanes into one: of sixteen, lane i and i + 8, then i + 4, i + 2, i + 1.
template <class Number, int COUNT, class Combine>
inline Number reduce(Number (&lanes)[COUNT], Combine combine) {
  for (int half = COUNT / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] = combine(lanes[i], lanes[i + half]);
  return lanes[0];
}
template <class Number, int COUNT>
inline Number reduce_add(Number (&lanes)[COUNT]) {
  return reduce(lanes, [](Number x, Number y) { return x + y; });
}
template <class Number, int COUNT>
inline Number reduce_max(Number (&lanes)[COUNT]) {
  return reduce(lanes, [](Number x, Number y) { return x > y ? x : y; });
}
inline float reduce_add(Vector a) {
  float lanes[WIDTH];
  store(lanes, a);
  return reduce_add(lanes);
}
inline float reduce_max(Vector a) {
  float lanes[WIDTH];
  store(lanes, a);
  return reduce_max(lanes);
}

/// e^x to about two units in the last place, for x up to 88; anything below -87.3, -inf too, gives 1e-38.
INLINE Vector exp(Vector x) {
  // x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor series, whose next term is below 4e-9. Numbers this large
  // have no fraction: adding 1.5 * 2^23 rounds to a whole n, which is then in the lowest bits.
  const Vector limited = max(broadcast(-87.3f), min(broadcast(88.0f), x)), whole = broadcast(12582912.0f);
  const Vector shifted = fma(limited, broadcast(1.44269504088896341f), whole), n = shifted - whole;
  const Vector r = fma(n, broadcast(2.12194440e-4f), fma(n, broadcast(-0.693359375f), limited));
  Vector p = broadcast(1.0f / 5040);
  p = fma(p, r, broadcast(1.0f / 720));
  p = fma(p, r, broadcast(1.0f / 120));
  p = fma(p, r, broadcast(1.0f / 24));
  p = fma(p, r, broadcast(1.0f / 6));
  p = fma(p, r, broadcast(0.5f));
  p = fma(p, r, broadcast(1.0f));
  p = fma(p, r, broadcast(1.0f));
  return p * make([&](int i) { return shift_to_exponent(shifted.part[i]); });  // 2^n
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
