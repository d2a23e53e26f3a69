// Passes over a row of logits on its way to a token. Part of kernels.cpp: compiled for each instruction set.
//
// Written in the compiler's own vectors. Additions, multiplications and divisions round the same everywhere, nothing is
// fused, and sums run in eight lanes however wide the registers are: the same bits on every machine.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

#if defined(NEXTWORD_AVX512)
constexpr int DOUBLE_LANES = 8;
#elif defined(NEXTWORD_AVX2)
constexpr int DOUBLE_LANES = 4;
#else
constexpr int DOUBLE_LANES = 2;
#endif
constexpr int SUM_LANES = 8;
constexpr int EXP_VECTORS = 4, EXP_LANES = EXP_VECTORS * DOUBLE_LANES;  // whole SUM_LANES
constexpr int MAX_LANES = 4 * 2 * DOUBLE_LANES;  // four vectors at once: one alone would wait for itself

using Doubles = double __attribute__((vector_size(DOUBLE_LANES * sizeof(double))));
using DoubleBits = int64_t __attribute__((vector_size(DOUBLE_LANES * sizeof(double))));
using HalfFloats = float __attribute__((vector_size(DOUBLE_LANES * sizeof(float))));  // as many as Doubles
using WideFloats = float __attribute__((vector_size(2 * DOUBLE_LANES * sizeof(float))));
using WideMask = int32_t __attribute__((vector_size(2 * DOUBLE_LANES * sizeof(float))));

/// e to each x <= 0, to 1 unit in the last place; 0 below -708, where float64 would become subnormal.
///
/// x = n ln 2 + r, |r| <= ln 2 / 2, and Taylor's series of e^r: of all vectors in turns, as one alone waits for itself.
inline void exp_nonpositive(Doubles* x) {
  constexpr double LOG2_E = 1.4426950408889634, LN2_HIGH = 6.93147180369123816490e-01,
                   LN2_LOW = 1.90821492927058770002e-10, ROUND = 6755399441055744.0;  // 1.5 * 2^52: the sum is whole
  constexpr double FACTORIALS[] = {479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1};
  Doubles r[EXP_VECTORS], series[EXP_VECTORS];
  for (int i = 0; i < EXP_VECTORS; ++i) {
    const Doubles n = (x[i] * LOG2_E + ROUND) - ROUND;
    r[i] = (x[i] - n * LN2_HIGH) - n * LN2_LOW;
    series[i] = Doubles{} + 1.0 / 6227020800.0;
  }
  for (const double factorial : FACTORIALS)
    for (int i = 0; i < EXP_VECTORS; ++i) series[i] = series[i] * r[i] + 1.0 / factorial;
  for (int i = 0; i < EXP_VECTORS; ++i) {
    const Doubles shifted = x[i] * LOG2_E + ROUND;
    const Doubles power = reinterpret_cast<Doubles>((reinterpret_cast<DoubleBits>(shifted) + 1023) << 52);  // 2^n
    x[i] = x[i] < -708.0 ? Doubles{} : series[i] * power;
  }
}

/// Of EXP_LANES logits, which are added to `sums`.
inline void exp_lanes(const float* logits, float largest, float divisor, double* weights, Doubles* sums) {
  Doubles x[EXP_VECTORS];
  for (int i = 0; i < EXP_VECTORS; ++i) {
    HalfFloats values;
    std::memcpy(&values, logits + i * DOUBLE_LANES, sizeof values);
    x[i] = __builtin_convertvector((values - largest) / divisor, Doubles);
  }
  exp_nonpositive(x);
  std::memcpy(weights, x, sizeof x);
  for (int i = 0; i < EXP_VECTORS; ++i) sums[i % (SUM_LANES / DOUBLE_LANES)] += x[i];
}

double exp_weights(const float* logits, int64_t count, float largest, float divisor, double* weights) {
  Doubles sums[SUM_LANES / DOUBLE_LANES] = {};
  const int64_t whole = count / EXP_LANES * EXP_LANES;
  for (int64_t i = 0; i < whole; i += EXP_LANES) exp_lanes(logits + i, largest, divisor, weights + i, sums);
  if (whole < count) {
    float rest[EXP_LANES];
    double rest_weights[EXP_LANES];
    for (int64_t i = 0; i < EXP_LANES; ++i) rest[i] = whole + i < count ? logits[whole + i] : -INFINITY;
    exp_lanes(rest, largest, divisor, rest_weights, sums);
    for (int64_t i = whole; i < count; ++i) weights[i] = rest_weights[i - whole];
  }
  double lanes[SUM_LANES];
  std::memcpy(lanes, sums, sizeof lanes);
  for (int width = SUM_LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

float row_max(const float* x, int64_t count) {
  constexpr int LANES = 2 * DOUBLE_LANES, VECTORS = MAX_LANES / LANES;
  WideFloats largest[VECTORS];
  WideMask no_number{};
  for (auto& values : largest) values = WideFloats{} - INFINITY;
  const int64_t whole = count / MAX_LANES * MAX_LANES;
  for (int64_t i = 0; i < whole; i += MAX_LANES)
    for (int j = 0; j < VECTORS; ++j) {
      WideFloats values;
      std::memcpy(&values, x + i + j * LANES, sizeof values);
      largest[j] = values > largest[j] ? values : largest[j];
      no_number |= values != values;
    }
  float result = -INFINITY;
  bool is_number = true;
  for (int i = 0; i < LANES; ++i) {
    for (const auto& values : largest) result = values[i] > result ? values[i] : result;
    is_number &= no_number[i] == 0;
  }
  for (int64_t i = whole; i < count; ++i) {
    result = x[i] > result ? x[i] : result;
    is_number &= x[i] == x[i];
  }
  return is_number ? result : NAN;
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
