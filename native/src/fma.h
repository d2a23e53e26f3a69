// a * b + c rounded once, in plain arithmetic: for processors without an instruction for it.
#pragma once

#include <cstdint>
#include <cstring>

namespace nextword {
namespace {

/// The product is exact in double precision. Their sum is rounded to odd there: what is cut off leaves the last bit
/// set, so that rounding once more, to float32, sees on which side of a tie the exact sum lies. Source: Boldo and
/// Melquiond 2008, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd"; the error of
/// the sum by Knuth's two-sum.
inline float emulated_fma(float a, float b, float c) {
  const double product = double(a) * double(b), term = double(c);
  double sum = product + term;
  const double back = sum - product;
  const double error = (product - (sum - back)) + (term - back);
  if (error < 0 || error > 0) {  // neither where the sum is exact nor, NaN, where it is no finite number
    int64_t bits;
    std::memcpy(&bits, &sum, sizeof bits);
    if (!(bits & 1)) bits += (error > 0) == (sum > 0) ? 1 : -1;
    std::memcpy(&sum, &bits, sizeof sum);
  }
  return float(sum);
}

}  // namespace
}  // namespace nextword
