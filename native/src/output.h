// Where the results of a matrix product go. Compiled for each instruction set.
#pragma once

#include "simd.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

/// What comes of 16 rows of a token: value + bias + addend.
struct Output {
  const float *bias, *addend;
  float* out;
  int64_t stride, rows;  // of the matrix: the last group may have fewer than 16

  void write(int64_t token, int64_t row, const float* values) const {
    const int64_t index = token * stride + row;
    if (row + WIDTH <= rows) {
      Vector value = load(values);
      if (bias) value = value + load(bias + row);
      if (addend) value = value + load(addend + index);
      store(out + index, value);
    } else {
      for (int64_t r = 0; r < rows - row; ++r) {
        float value = values[r];
        if (bias) value += bias[row + r];
        if (addend) value += addend[index + r];
        out[index + r] = value;
      }
    }
  }
};

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
