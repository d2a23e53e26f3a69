// What quantised weights mean, in plain loops over the layout that ggml's files have.
#pragma once

#include <cstdint>
#include <cstring>

#include "formats.h"

namespace reference {

using nextword::Format;

#if defined(__aarch64__)
using Half = __fp16;
#else
using Half = _Float16;
#endif

inline float half(const uint8_t* p) {
  Half value;
  std::memcpy(&value, p, sizeof value);
  return float(value);
}

/// 32 columns of a row: weight i is `d` * factors[i / 16] * codes[i] + minima[i / 16].
struct Block {
  int codes[32];
  float d = 0;
  int factors[2] = {1, 1};
  bool factors_are_integers = false;  // they belong to the exact sum; elsewhere to d
  float minima[2] = {0, 0};
};

inline bool has_minima(Format format) {
  return format == Format::Q4_1 || format == Format::Q5_1 || format == Format::Q2_K || format == Format::Q4_K ||
         format == Format::Q5_K;
}

inline int nibble(const uint8_t* bytes, int i) { return i < 16 ? bytes[i] & 15 : bytes[i - 16] >> 4; }
inline int bit(const uint8_t* bytes, int i) { return bytes[i / 8] >> i % 8 & 1; }

/// Block `b` of 32 columns of the row that begins at `row`.
inline Block decode(Format format, const uint8_t* row, int64_t b) {
  static constexpr int IQ4_NL[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  const nextword::BlockLayout layout = nextword::block_layout(format);
  const auto per = layout.columns / 32;
  const uint8_t* p = row + b / per * layout.file_bytes;
  const int k = int(b % per);
  Block block;
  const auto minimum = [&](float m) { block.minima[0] = block.minima[1] = m; };
  for (int i = 0; i < 32; ++i) {
    int& code = block.codes[i];
    switch (format) {
      case Format::Q8_0: block.d = half(p), code = int8_t(p[2 + i]); break;
      case Format::Q4_0: block.d = half(p), code = nibble(p + 2, i) - 8; break;
      case Format::IQ4_NL: block.d = half(p), code = IQ4_NL[nibble(p + 2, i)]; break;
      case Format::Q4_1: block.d = half(p), minimum(half(p + 2)), code = nibble(p + 4, i); break;
      case Format::Q5_0: block.d = half(p), code = (nibble(p + 6, i) | bit(p + 2, i) << 4) - 16; break;
      case Format::Q5_1: block.d = half(p), minimum(half(p + 2)), code = nibble(p + 8, i) | bit(p + 4, i) << 4; break;
      case Format::Q4_K:
      case Format::Q5_K: {
        const uint8_t *s = p + 4, *q = p + (format == Format::Q4_K ? 16 : 48) + k / 2 * 32;
        const int scale = k < 4 ? s[k] & 63 : (s[k + 4] & 15) | (s[k - 4] >> 6) << 4;
        const int min = k < 4 ? s[k + 4] & 63 : (s[k + 4] >> 4) | (s[k] >> 6) << 4;
        block.d = half(p), block.factors[0] = block.factors[1] = scale, minimum(-(half(p + 2) * float(min)));
        code = k % 2 ? q[i] >> 4 : q[i] & 15;
        if (format == Format::Q5_K) code |= (p[16 + i] >> k & 1) << 4;
        break;
      }
      case Format::Q6_K: {
        const uint8_t *ql = p + 64 * (k / 4) + 32 * (k % 2), *qh = p + 128 + 32 * (k / 4);
        block.d = half(p + 208), block.factors_are_integers = true;
        block.factors[i / 16] = int8_t(p[192 + 2 * k + i / 16]);
        code = ((k & 2 ? ql[i] >> 4 : ql[i] & 15) | (qh[i] >> 2 * (k % 4) & 3) << 4) - 32;
        break;
      }
      case Format::Q3_K: {
        const int s = 2 * k + i / 16;
        const uint8_t* scales = p + 96;
        block.d = half(p + 108), block.factors_are_integers = true;
        block.factors[i / 16] =
            ((s < 8 ? scales[s] & 15 : scales[s - 8] >> 4) | (scales[8 + s % 4] >> 2 * (s / 4) & 3) << 4) - 32;
        code = (p[32 + 32 * (k / 4) + i] >> 2 * (k % 4) & 3) - (p[i] >> k & 1 ? 0 : 4);
        break;
      }
      case Format::Q2_K:
        block.d = half(p + 80), block.factors_are_integers = true;
        block.factors[i / 16] = p[2 * k + i / 16] & 15;
        block.minima[i / 16] = -(half(p + 82) * float(p[2 * k + i / 16] >> 4));
        code = p[16 + 32 * (k / 4) + i] >> 2 * (k % 4) & 3;
        break;
      default: code = 0;
    }
  }
  return block;
}

}  // namespace reference
