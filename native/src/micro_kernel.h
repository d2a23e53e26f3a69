// The tile of sums in registers that matrix products and attention are made of. Part of kernels.cpp.
#pragma once

#include "simd.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

/// Vectors of sums that stay in registers, and the most tokens that meet a group of rows at once.
constexpr int SUMS = VECTOR_REGISTERS == 1 ? 24 : 6, TILE = 6;

/// Groups of rows to take at once for a tile of tokens: sums enough that additions need not wait for each other.
constexpr int groups_for(int tokens) { return SUMS / tokens >= 4 ? 4 : SUMS / tokens >= 2 ? 2 : 1; }

/// Weights as groups of 16 rows: column c of group g is 16 numbers from data + g * group_stride + c * column_stride on.
/// What lies `ahead` of them is called to the cache, where the processor's own guesses end: at the end of a page, or
/// where another part of memory follows. 0 calls for nothing.
template <class Element>
struct Groups {
  const Element* data;
  int64_t group_stride, column_stride, ahead;
};

/// sums[g][t] += group g . x[t] over the columns begin <= c < end, one after the other; lane r of a sum is that of row
/// r. The order of an addition never depends on GROUPS or TOKENS.
template <bool PREFETCH, int GROUPS, int TOKENS, class Element>
inline void micro_kernel(const Groups<Element>& groups, const float* const* x, int64_t begin, int64_t end,
                         Vector (&sums)[GROUPS][TOKENS]) {
  const Element* column = groups.data + begin * groups.column_stride;
  for (int64_t c = begin; c < end; ++c, column += groups.column_stride) {
    if (PREFETCH)
      for (int g = 0; g < GROUPS; ++g) prefetch(column + g * groups.group_stride + groups.ahead);
    if constexpr (TOKENS <= 3) {  // as few registers as possible for what is multiplied
      Register factors[TOKENS];
      for (int t = 0; t < TOKENS; ++t) factors[t] = broadcast_register(x[t][c]);
      for (int g = 0; g < GROUPS; ++g)
        for (int i = 0; i < VECTOR_REGISTERS; ++i) {
          const Register w = load_register(column + g * groups.group_stride + i * REGISTER_WIDTH);
          for (int t = 0; t < TOKENS; ++t) sums[g][t].part[i] = multiply_add(w, factors[t], sums[g][t].part[i]);
        }
    } else {
      Vector w[GROUPS];
      for (int g = 0; g < GROUPS; ++g) w[g] = load(column + g * groups.group_stride);
      for (int t = 0; t < TOKENS; ++t) {
        const Vector factor = broadcast(x[t][c]);
        for (int g = 0; g < GROUPS; ++g) sums[g][t] = fma(w[g], factor, sums[g][t]);
      }
    }
  }
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
