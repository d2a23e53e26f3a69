#include "dequantize.h"

#include <cstring>

#include "fp16.h"

namespace nextword {
namespace {

float load_fp16(const uint8_t* p) {
  uint16_t half;
  std::memcpy(&half, p, sizeof half);
  return fp16_to_fp32(half);
}

/// Four bits of a row of bytes: the low halves of them, then the high ones.
int nibble(const uint8_t* bytes, int64_t i, int64_t half) { return i < half ? bytes[i] & 15 : bytes[i - half] >> 4; }

int fifth_bit(const uint8_t* bits, int64_t i) { return (bits[i / 8] >> i % 8 & 1) << 4; }

constexpr int IQ4_NL_CODES[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// The six-bit scale and minimum of 32 columns of Q4_K and Q5_K.
struct ScaleAndMin { int scale, min; };
ScaleAndMin k4_scale(const uint8_t* p, int64_t i) {
  if (i < 4) return {p[i] & 63, p[i + 4] & 63};
  return {(p[i + 4] & 15) | p[i - 4] >> 6 << 4, p[i + 4] >> 4 | p[i] >> 6 << 4};
}

int q3_scale(const uint8_t* p, int64_t i) {
  const int low = nibble(p, i, 8), high = p[8 + i % 4] >> 2 * (i / 4) & 3;
  return (low | high << 4) - 32;
}

/// One block as the file has it; `out` has its columns.
void dequantize_block(Format format, const uint8_t* p, float* out) {
  switch (format) {
    case Format::Q8_0:
      for (int64_t i = 0; i < 32; ++i) out[i] = float(int8_t(p[2 + i])) * load_fp16(p);
      return;
    case Format::Q4_0:
      for (int64_t i = 0; i < 32; ++i) out[i] = float(nibble(p + 2, i, 16) - 8) * load_fp16(p);
      return;
    case Format::IQ4_NL:
      for (int64_t i = 0; i < 32; ++i) out[i] = float(IQ4_NL_CODES[nibble(p + 2, i, 16)]) * load_fp16(p);
      return;
    case Format::Q4_1:
      for (int64_t i = 0; i < 32; ++i) out[i] = float(nibble(p + 4, i, 16)) * load_fp16(p) + load_fp16(p + 2);
      return;
    case Format::Q5_0:
      for (int64_t i = 0; i < 32; ++i) out[i] = float((nibble(p + 6, i, 16) | fifth_bit(p + 2, i)) - 16) * load_fp16(p);
      return;
    case Format::Q5_1:
      for (int64_t i = 0; i < 32; ++i)
        out[i] = float(nibble(p + 8, i, 16) | fifth_bit(p + 4, i)) * load_fp16(p) + load_fp16(p + 2);
      return;
    case Format::Q4_K:
    case Format::Q5_K: {
      const float d = load_fp16(p), dmin = load_fp16(p + 2);
      const uint8_t* codes = p + (format == Format::Q5_K ? 48 : 16);
      for (int64_t i = 0; i < 256; ++i) {
        const auto [scale, min] = k4_scale(p + 4, i / 32);
        const int high = format == Format::Q5_K ? (p[16 + i % 32] >> i / 32 & 1) << 4 : 0;
        const int code = nibble(codes + i / 64 * 32, i % 64, 32) | high;
        out[i] = d * float(scale) * float(code) - dmin * float(min);
      }
      return;
    }
    case Format::Q6_K: {
      const float d = load_fp16(p + 208);
      for (int64_t i = 0; i < 256; ++i) {
        const int low = nibble(p + i / 128 * 64, i % 128, 64), high = p[128 + i / 128 * 32 + i % 32] >> i / 32 % 4 * 2;
        out[i] = d * float(int8_t(p[192 + i / 16])) * float((low | (high & 3) << 4) - 32);
      }
      return;
    }
    case Format::Q3_K: {
      const float d = load_fp16(p + 108);
      for (int64_t i = 0; i < 256; ++i) {
        const int low = p[32 + i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3, high = p[i % 32] >> i / 32 & 1;
        out[i] = d * float(q3_scale(p + 96, i / 16)) * float(low - (high ? 0 : 4));
      }
      return;
    }
    case Format::Q2_K: {
      const float d = load_fp16(p + 80), dmin = load_fp16(p + 82);
      for (int64_t i = 0; i < 256; ++i) {
        const int code = p[16 + i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3, scales = p[i / 16];
        out[i] = d * float(scales & 15) * float(code) - dmin * float(scales >> 4);
      }
      return;
    }
    case Format::F32:
    case Format::F16:
    case Format::BF16: return;  // have no blocks in a file
  }
}

/// Where in a block its half-precision scales lie; those of formats with one scale lie in one place twice.
struct ScalePlaces { int64_t first, second; };
constexpr ScalePlaces scale_places(Format format) {
  switch (format) {
    case Format::Q4_1:
    case Format::Q5_1:
    case Format::Q4_K:
    case Format::Q5_K: return {0, 2};
    case Format::Q2_K: return {80, 82};
    case Format::Q3_K: return {108, 108};
    case Format::Q6_K: return {208, 208};
    default: return {0, 0};
  }
}

/// Whether some number has an exponent of all ones: it is infinite, or none. Without a way out, for vectors.
template <class Bits>
bool has_exponent(const uint8_t* p, int64_t count, int64_t step, Bits exponent) {
  constexpr int64_t PART = 1 << 14;
  for (int64_t begin = 0; begin < count; begin += PART) {
    unsigned found = 0;
    const int64_t end = begin + PART < count ? begin + PART : count;
    for (int64_t i = begin; i < end; ++i) {
      Bits bits;
      std::memcpy(&bits, p + i * step, sizeof bits);
      found |= unsigned(Bits(bits & exponent) == exponent);
    }
    if (found) return true;
  }
  return false;
}

}  // namespace

void dequantize_row(const Matrix& file, int64_t row, float* out) {
  const uint8_t* p = file.data + row * file.row_bytes();
  switch (file.format) {
    case Format::F32: std::memcpy(out, p, size_t(file.columns) * sizeof(float)); return;
    case Format::F16:
      for (int64_t i = 0; i < file.columns; ++i) out[i] = load_fp16(p + 2 * i);
      return;
    case Format::BF16:
      for (int64_t i = 0; i < file.columns; ++i) {
        uint16_t upper;
        std::memcpy(&upper, p + 2 * i, sizeof upper);
        const uint32_t bits = uint32_t(upper) << 16;
        std::memcpy(out + i, &bits, sizeof bits);
      }
      return;
    default: {
      const BlockLayout block = block_layout(file.format);
      for (int64_t at = 0; at < file.columns; at += block.columns, p += block.file_bytes)
        dequantize_block(file.format, p, out + at);
    }
  }
}

bool is_finite(const Matrix& file) {
  const int64_t numbers = file.rows * file.columns;
  switch (file.format) {
    case Format::F32: return !has_exponent<uint32_t>(file.data, numbers, 4, 0x7f800000u);
    case Format::F16: return !has_exponent<uint16_t>(file.data, numbers, 2, 0x7c00u);
    case Format::BF16: return !has_exponent<uint16_t>(file.data, numbers, 2, 0x7f80u);
    default: {
      const BlockLayout block = block_layout(file.format);
      const auto [first, second] = scale_places(file.format);
      const int64_t blocks = numbers / block.columns;
      return !has_exponent<uint16_t>(file.data + first, blocks, block.file_bytes, 0x7c00u) &&
             (first == second || !has_exponent<uint16_t>(file.data + second, blocks, block.file_bytes, 0x7c00u));
    }
  }
}

}  // namespace nextword
