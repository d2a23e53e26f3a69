#include "sine.h"

#include <cstdint>

namespace nextword {
namespace {

/// a[0] + a[1] x + a[2] x^2 + ...
template <int COUNT>
double polynomial(const double (&a)[COUNT], double x) {
  double value = a[COUNT - 1];
  for (int i = COUNT - 2; i >= 0; --i) value = value * x + a[i];
  return value;
}

// The Taylor series: their next terms are below 5e-17 for angles up to pi / 4.
constexpr double COS[] = {1.0,
                          -1.0 / 2,
                          1.0 / 24,
                          -1.0 / 720,
                          1.0 / 40320,
                          -1.0 / 3628800,
                          1.0 / 479001600,
                          -1.0 / 87178291200,
                          1.0 / 20922789888000};
constexpr double SIN[] = {1.0,          -1.0 / 6,        1.0 / 120,        -1.0 / 5040,
                          1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000};

}  // namespace

CosSin cos_sin(double angle) {
  // angle = n pi / 2 + r with |r| <= pi / 4. The first two parts of pi / 2 have few enough bits that n times them is
  // exact. Adding 1.5 * 2^52, where numbers have no fraction, rounds to a whole n.
  constexpr double WHOLE = 6755399441055744.0;
  const double n = (angle * 0.63661977236758134 + WHOLE) - WHOLE;
  const double r = ((angle - n * 0x1.921fb54p+0) - n * 0x1.10b46118p-30) - n * 0x1.313198a2e0370p-61;
  const double square = r * r, c = polynomial(COS, square), s = r * polynomial(SIN, square);
  switch (int64_t(n) & 3) {
    case 0: return {c, s};
    case 1: return {-s, c};
    case 2: return {-c, -s};
    default: return {s, -c};
  }
}

}  // namespace nextword
