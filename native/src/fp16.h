// IEEE half precision -> float32, wherever the instruction set has nothing for it.
#pragma once

#include <cstdint>
#include <cstring>

namespace nextword {
namespace {  // of each file its own: the linker must not give code for a wider instruction set to everybody

inline float fp32_from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// Exact, subnormal numbers too.
inline float fp16_to_fp32(uint16_t half) {
  const uint32_t sign = uint32_t(half & 0x8000u) << 16, rest = half & 0x7fffu;
  if (rest >= 0x7c00u) return fp32_from_bits(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  if (rest >= 0x0400u) return fp32_from_bits(sign | ((rest << 13) + 0x38000000u));
  const float value = float(rest) * 5.9604644775390625e-08f;  // 2^-24
  return sign ? -value : value;
}

}  // namespace
}  // namespace nextword
