// Vectors for products of integers: LANES rows side by side, a word of four bytes or two 16-bit numbers of each. As
// simd.h, written for each instruction set; the integers are exact, so that every set gives the same.
//
// Of the 16 rows of a packed group a vector holds LANES; PARTS vectors hold them all.
#pragma once

#include "formats.h"
#include "simd.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

// clang-format off: one line an operation
#if defined(NEXTWORD_AVX512)

struct Words { __m512i v; };
struct Floats { __m512 v; };
constexpr int LANES = 16;
constexpr int TILE_SUMS = 8;  // vectors of sums that a tile has, at most
constexpr int PANEL_GROUPS = 2, PANEL_TILE_VECTORS = 2, PANEL_TILE_TOKENS = 8;

inline Words load_words(const void* p) { return {_mm512_loadu_si512(p)}; }
inline void store_words(void* p, Words a) { _mm512_storeu_si512(p, a.v); }
inline Words set_words(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline Words operator&(Words a, Words b) { return {_mm512_and_si512(a.v, b.v)}; }
inline Words operator|(Words a, Words b) { return {_mm512_or_si512(a.v, b.v)}; }
inline Words operator^(Words a, Words b) { return {_mm512_xor_si512(a.v, b.v)}; }
inline Words operator+(Words a, Words b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Words operator-(Words a, Words b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline Words operator*(Words a, Words b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
inline Words max(Words a, Words b) { return {_mm512_max_epi32(a.v, b.v)}; }
/// Of 16-bit numbers.
inline Words subtract16(Words a, Words b) { return {_mm512_sub_epi16(a.v, b.v)}; }
inline Words multiply16(Words a, Words b) { return {_mm512_mullo_epi16(a.v, b.v)}; }
template <int N> inline Words shift_left16(Words a) { return {_mm512_slli_epi16(a.v, N)}; }
template <int N> inline Words shift_right16(Words a) { return {_mm512_srli_epi16(a.v, N)}; }
template <int N> inline Words shift_right16_signed(Words a) { return {_mm512_srai_epi16(a.v, N)}; }
template <int N> inline Words shift_right32_signed(Words a) { return {_mm512_srai_epi32(a.v, N)}; }
/// table[byte] for bytes below 16.
inline Words look_up(const int8_t* table, Words bytes) {
  const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(entries), bytes.v)};
}
/// A byte of each row as a 32-bit number.
inline Words load_unsigned_bytes(const uint8_t* p) { return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}; }
inline Words load_signed_bytes(const uint8_t* p) { return {_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}; }

/// Sums of products of 16-bit pairs.
struct Sum { __m512i v; };
inline Sum zero_sum() { return {_mm512_setzero_si512()}; }
#ifdef NEXTWORD_AVX512VNNI
inline void multiply_add(Sum& sum, Words a, Words b) { sum.v = _mm512_dpwssd_epi32(sum.v, a.v, b.v); }
#else
inline void multiply_add(Sum& sum, Words a, Words b) { sum.v = _mm512_add_epi32(sum.v, _mm512_madd_epi16(a.v, b.v)); }
#endif
inline Words total(Sum sum) { return {sum.v}; }

/// Sums of products of unsigned and signed bytes.
#define NEXTWORD_BYTES
struct ByteSum { __m512i v; };
inline ByteSum zero_byte_sum() { return {_mm512_setzero_si512()}; }
#ifdef NEXTWORD_AVX512VNNI
inline void multiply_add(ByteSum& sum, Words a, Words b) { sum.v = _mm512_dpbusd_epi32(sum.v, a.v, b.v); }
/// The sums as 32-bit numbers, each times its row's factor, which lies as `as_factor` has made it.
inline Words scaled(ByteSum sum, Words factor) { return {_mm512_mullo_epi32(sum.v, factor.v)}; }
inline Words as_factor(Words numbers) { return numbers; }
constexpr bool WIDE_BYTE_SUMS = true;  // of 32 bits, not of 16
#else
inline void multiply_add(ByteSum& sum, Words a, Words b) { sum.v = _mm512_add_epi16(sum.v, _mm512_maddubs_epi16(a.v, b.v)); }
inline Words scaled(ByteSum sum, Words factor) { return {_mm512_madd_epi16(sum.v, factor.v)}; }
inline Words as_factor(Words numbers) { return (numbers & set_words(0xffff)) * set_words(0x10001); }
constexpr bool WIDE_BYTE_SUMS = false;
#endif

inline Floats load_floats(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store_floats(float* p, Floats a) { _mm512_storeu_ps(p, a.v); }
inline Floats set_floats(float x) { return {_mm512_set1_ps(x)}; }
inline Floats operator+(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Floats operator*(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Floats negative(Floats a) { return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))}; }
inline Floats to_floats(Words a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline Words bits_of(Floats a) { return {_mm512_castps_si512(a.v)}; }
inline Floats load_halves(const uint8_t* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }

#elif defined(NEXTWORD_AVX2)

struct Words { __m256i v; };
struct Floats { __m256 v; };
constexpr int LANES = 8;
constexpr int TILE_SUMS = 8;
constexpr int PANEL_GROUPS = 1, PANEL_TILE_VECTORS = 2, PANEL_TILE_TOKENS = 4;

inline Words load_words(const void* p) { return {_mm256_loadu_si256(static_cast<const __m256i*>(p))}; }
inline void store_words(void* p, Words a) { _mm256_storeu_si256(static_cast<__m256i*>(p), a.v); }
inline Words set_words(int32_t x) { return {_mm256_set1_epi32(x)}; }
inline Words operator&(Words a, Words b) { return {_mm256_and_si256(a.v, b.v)}; }
inline Words operator|(Words a, Words b) { return {_mm256_or_si256(a.v, b.v)}; }
inline Words operator^(Words a, Words b) { return {_mm256_xor_si256(a.v, b.v)}; }
inline Words operator+(Words a, Words b) { return {_mm256_add_epi32(a.v, b.v)}; }
inline Words operator-(Words a, Words b) { return {_mm256_sub_epi32(a.v, b.v)}; }
inline Words operator*(Words a, Words b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
inline Words max(Words a, Words b) { return {_mm256_max_epi32(a.v, b.v)}; }
inline Words subtract16(Words a, Words b) { return {_mm256_sub_epi16(a.v, b.v)}; }
inline Words multiply16(Words a, Words b) { return {_mm256_mullo_epi16(a.v, b.v)}; }
template <int N> inline Words shift_left16(Words a) { return {_mm256_slli_epi16(a.v, N)}; }
template <int N> inline Words shift_right16(Words a) { return {_mm256_srli_epi16(a.v, N)}; }
template <int N> inline Words shift_right16_signed(Words a) { return {_mm256_srai_epi16(a.v, N)}; }
template <int N> inline Words shift_right32_signed(Words a) { return {_mm256_srai_epi32(a.v, N)}; }
inline Words look_up(const int8_t* table, Words bytes) {
  const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return {_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), bytes.v)};
}
inline Words load_unsigned_bytes(const uint8_t* p) { return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))}; }
inline Words load_signed_bytes(const uint8_t* p) { return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))}; }

struct Sum { __m256i v; };
inline Sum zero_sum() { return {_mm256_setzero_si256()}; }
inline void multiply_add(Sum& sum, Words a, Words b) { sum.v = _mm256_add_epi32(sum.v, _mm256_madd_epi16(a.v, b.v)); }
inline Words total(Sum sum) { return {sum.v}; }

#define NEXTWORD_BYTES
struct ByteSum { __m256i v; };
inline ByteSum zero_byte_sum() { return {_mm256_setzero_si256()}; }
inline void multiply_add(ByteSum& sum, Words a, Words b) { sum.v = _mm256_add_epi16(sum.v, _mm256_maddubs_epi16(a.v, b.v)); }
inline Words scaled(ByteSum sum, Words factor) { return {_mm256_madd_epi16(sum.v, factor.v)}; }
inline Words as_factor(Words numbers) { return (numbers & set_words(0xffff)) * set_words(0x10001); }
constexpr bool WIDE_BYTE_SUMS = false;

inline Floats load_floats(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store_floats(float* p, Floats a) { _mm256_storeu_ps(p, a.v); }
inline Floats set_floats(float x) { return {_mm256_set1_ps(x)}; }
inline Floats operator+(Floats a, Floats b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Floats operator*(Floats a, Floats b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Floats negative(Floats a) { return {_mm256_xor_ps(a.v, _mm256_set1_ps(-0.0f))}; }
inline Floats to_floats(Words a) { return {_mm256_cvtepi32_ps(a.v)}; }
inline Words bits_of(Floats a) { return {_mm256_castps_si256(a.v)}; }
inline Floats load_halves(const uint8_t* p) { return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}; }

#elif defined(NEXTWORD_NEON)

struct Words { int32x4_t v; };
struct Floats { float32x4_t v; };
constexpr int LANES = 4;
constexpr int TILE_SUMS = 8;
constexpr int PANEL_GROUPS = 1, PANEL_TILE_VECTORS = 4, PANEL_TILE_TOKENS = 2;

inline Words load_words(const void* p) { return {vreinterpretq_s32_u8(vld1q_u8(static_cast<const uint8_t*>(p)))}; }
inline void store_words(void* p, Words a) { vst1q_u8(static_cast<uint8_t*>(p), vreinterpretq_u8_s32(a.v)); }
inline Words set_words(int32_t x) { return {vdupq_n_s32(x)}; }
inline Words operator&(Words a, Words b) { return {vandq_s32(a.v, b.v)}; }
inline Words operator|(Words a, Words b) { return {vorrq_s32(a.v, b.v)}; }
inline Words operator+(Words a, Words b) { return {vaddq_s32(a.v, b.v)}; }
inline Words operator-(Words a, Words b) { return {vsubq_s32(a.v, b.v)}; }
inline Words operator*(Words a, Words b) { return {vmulq_s32(a.v, b.v)}; }
inline Words max(Words a, Words b) { return {vmaxq_s32(a.v, b.v)}; }
inline int16x8_t halves(Words a) { return vreinterpretq_s16_s32(a.v); }
inline Words from_halves(int16x8_t a) { return {vreinterpretq_s32_s16(a)}; }
inline Words subtract16(Words a, Words b) { return from_halves(vsubq_s16(halves(a), halves(b))); }
inline Words multiply16(Words a, Words b) { return from_halves(vmulq_s16(halves(a), halves(b))); }
template <int N> inline Words shift_left16(Words a) { return from_halves(vshlq_s16(halves(a), vdupq_n_s16(N))); }
template <int N> inline Words shift_right16(Words a) { return from_halves(vreinterpretq_s16_u16(vshlq_u16(vreinterpretq_u16_s32(a.v), vdupq_n_s16(-N)))); }
template <int N> inline Words shift_right16_signed(Words a) { return from_halves(vshlq_s16(halves(a), vdupq_n_s16(-N))); }
template <int N> inline Words shift_right32_signed(Words a) { return {vshlq_s32(a.v, vdupq_n_s32(-N))}; }
inline Words look_up(const int8_t* table, Words bytes) { return {vreinterpretq_s32_s8(vqtbl1q_s8(vld1q_s8(table), vreinterpretq_u8_s32(bytes.v)))}; }
inline Words load_unsigned_bytes(const uint8_t* p) {
  uint32_t four;
  std::memcpy(&four, p, sizeof four);
  return {vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four))))))};
}
inline Words load_signed_bytes(const uint8_t* p) {
  uint32_t four;
  std::memcpy(&four, p, sizeof four);
  return {vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)))))};
}

/// The products of the lower and of the upper half of the rows; neighbours are added at the end.
struct Sum { int32x4_t low, high; };
inline Sum zero_sum() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
inline void multiply_add(Sum& sum, Words a, Words b) {
  sum.low = vmlal_s16(sum.low, vget_low_s16(halves(a)), vget_low_s16(halves(b)));
  sum.high = vmlal_high_s16(sum.high, halves(a), halves(b));
}
inline Words total(Sum sum) { return {vpaddq_s32(sum.low, sum.high)}; }

inline Floats load_floats(const float* p) { return {vld1q_f32(p)}; }
inline void store_floats(float* p, Floats a) { vst1q_f32(p, a.v); }
inline Floats set_floats(float x) { return {vdupq_n_f32(x)}; }
inline Floats operator+(Floats a, Floats b) { return {vaddq_f32(a.v, b.v)}; }
inline Floats operator*(Floats a, Floats b) { return {vmulq_f32(a.v, b.v)}; }
inline Floats negative(Floats a) { return {vnegq_f32(a.v)}; }
inline Floats to_floats(Words a) { return {vcvtq_f32_s32(a.v)}; }
inline Words bits_of(Floats a) { return {vreinterpretq_s32_f32(a.v)}; }
inline Floats load_halves(const uint8_t* p) { return {vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)))}; }

#else  // any processor: what GCC and Clang make of vectors of sixteen bytes

template <class Number> using Vector16 [[gnu::vector_size(16)]] = Number;
struct Words { Vector16<int32_t> v; };
struct Floats { Vector16<float> v; };
using Halves = Vector16<int16_t>;
using UnsignedHalves = Vector16<uint16_t>;
constexpr int LANES = 4;
constexpr int TILE_SUMS = 4;
constexpr int PANEL_GROUPS = 1, PANEL_TILE_VECTORS = 2, PANEL_TILE_TOKENS = 2;

template <class To, class From>
inline To cast_to(From a) { To b; std::memcpy(&b, &a, sizeof b); return b; }
inline Words load_words(const void* p) { Words a; std::memcpy(&a, p, sizeof a); return a; }
inline void store_words(void* p, Words a) { std::memcpy(p, &a, sizeof a); }
inline Words set_words(int32_t x) { return {Vector16<int32_t>{x, x, x, x}}; }
inline Words operator&(Words a, Words b) { return {a.v & b.v}; }
inline Words operator|(Words a, Words b) { return {a.v | b.v}; }
inline Words operator+(Words a, Words b) { return {a.v + b.v}; }
inline Words operator-(Words a, Words b) { return {a.v - b.v}; }
inline Words operator*(Words a, Words b) { return {Vector16<int32_t>(Vector16<uint32_t>(a.v) * Vector16<uint32_t>(b.v))}; }
inline Words max(Words a, Words b) { return {a.v > b.v ? a.v : b.v}; }
inline Words subtract16(Words a, Words b) { return cast_to<Words>(Halves(cast_to<Halves>(a) - cast_to<Halves>(b))); }
inline Words multiply16(Words a, Words b) { return cast_to<Words>(Halves(cast_to<Halves>(a) * cast_to<Halves>(b))); }
template <int N> inline Words shift_left16(Words a) { return cast_to<Words>(UnsignedHalves(cast_to<UnsignedHalves>(a) << N)); }
template <int N> inline Words shift_right16(Words a) { return cast_to<Words>(UnsignedHalves(cast_to<UnsignedHalves>(a) >> N)); }
template <int N> inline Words shift_right16_signed(Words a) { return cast_to<Words>(Halves(cast_to<Halves>(a) >> N)); }
template <int N> inline Words shift_right32_signed(Words a) { return {a.v >> N}; }
inline Words look_up(const int8_t* table, Words bytes) {
  uint8_t x[16];
  std::memcpy(x, &bytes, sizeof x);
  for (uint8_t& byte : x) byte = uint8_t(table[byte]);
  return load_words(x);
}
inline Words load_unsigned_bytes(const uint8_t* p) { return {Vector16<int32_t>{p[0], p[1], p[2], p[3]}}; }
inline Words load_signed_bytes(const uint8_t* p) { return {Vector16<int32_t>{int8_t(p[0]), int8_t(p[1]), int8_t(p[2]), int8_t(p[3])}}; }

struct Sum { Vector16<int32_t> v; };
inline Sum zero_sum() { return {set_words(0).v}; }
inline void multiply_add(Sum& sum, Words a, Words b) {
#ifdef __SSE2__
  sum.v += cast_to<Vector16<int32_t>>(_mm_madd_epi16(cast_to<__m128i>(a), cast_to<__m128i>(b)));
#else
  const Vector16<uint32_t> x = cast_to<Vector16<uint32_t>>(a), y = cast_to<Vector16<uint32_t>>(b);
  const auto low = [](Vector16<uint32_t> pairs) { return Vector16<int32_t>(pairs << 16) >> 16; };
  sum.v += low(x) * low(y) + (a.v >> 16) * (b.v >> 16);
#endif
}
inline Words total(Sum sum) { return {sum.v}; }

inline Floats load_floats(const float* p) { Floats a; std::memcpy(&a, p, sizeof a); return a; }
inline void store_floats(float* p, Floats a) { std::memcpy(p, &a, sizeof a); }
inline Floats set_floats(float x) { return {Vector16<float>{x, x, x, x}}; }
inline Floats operator+(Floats a, Floats b) { return {a.v + b.v}; }
inline Floats operator*(Floats a, Floats b) { return {a.v * b.v}; }
inline Floats negative(Floats a) { return {-a.v}; }
inline Floats to_floats(Words a) { return {__builtin_convertvector(a.v, Vector16<float>)}; }
inline Words bits_of(Floats a) { return cast_to<Words>(a); }
inline Floats load_halves(const uint8_t* p) {
  uint16_t half[LANES];
  std::memcpy(half, p, sizeof half);
  return {Vector16<float>{fp16_to_fp32(half[0]), fp16_to_fp32(half[1]), fp16_to_fp32(half[2]), fp16_to_fp32(half[3])}};
}

#endif
// clang-format on

/// Without it GCC keeps the products of a whole loop on the stack and adds them up at its end. Costs nothing itself.
inline void fence(Sum& sum) {
#if defined(__x86_64__)
  asm("" : "+x"(sum.v));
#elif defined(NEXTWORD_NEON)
  asm("" : "+w"(sum.low), "+w"(sum.high));
#else
  (void)sum;
#endif
}

#ifdef NEXTWORD_BYTES
inline void fence(ByteSum& sum) { asm("" : "+x"(sum.v)); }
#endif
inline void fence(Words& words) {
#if defined(__x86_64__)
  asm("" : "+x"(words.v));
#elif defined(NEXTWORD_NEON)
  asm("" : "+w"(words.v));
#else
  (void)words;
#endif
}

/// A first product is not added to zeros where nothing keeps them.
template <int INDEX, class Vector>
inline void fence_after(Vector& sum) {
  if constexpr (INDEX > 0) fence(sum);
}

constexpr int PARTS = int(ROW_GROUP) / LANES;

inline int32_t reduce_add(Words a) {
  alignas(64) int32_t words[LANES];
  store_words(words, a);
  return reduce_add(words);
}
inline int32_t reduce_max(Words a) {
  alignas(64) int32_t words[LANES];
  store_words(words, a);
  return reduce_max(words);
}

/// Two 16-bit numbers, or four bytes, the same for every row.
inline Words set_pair(const void* p) {
  int32_t pair;
  std::memcpy(&pair, p, sizeof pair);
  return set_words(pair);
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
