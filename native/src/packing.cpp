#include "packing.h"

#include <algorithm>
#include <cstring>

namespace nextword {
namespace {

// Words of four columns, a byte each: what is done to one byte is done to all four at once.
uint32_t load_word(const uint8_t* p) {
  uint32_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

/// One row's place among the sixteen of a packed block.
struct Lane {
  uint8_t* block;
  int64_t row;

  void half(int64_t at, const uint8_t* from) const { std::memcpy(block + at + 2 * row, from, 2); }
  void byte(int64_t at, int value) const { block[at + row] = uint8_t(value); }
  void word(int64_t at, uint32_t value) const { std::memcpy(block + at + 4 * row, &value, sizeof value); }
};

constexpr int64_t VECTOR = 4 * ROW_GROUP;  // bytes of one word of all rows
constexpr uint32_t LOW_NIBBLES = 0x0f0f0f0f, TWO_BITS = 0x03030303, ONE_BIT = 0x01010101;

/// 32 columns whose codes lie in the low or the high halves of 32 bytes.
void pack_nibbles(const uint8_t* in, bool high, const Lane& lane, int64_t at) {
  for (int64_t j = 0; j < 4; ++j) {
    const int shift = high ? 4 : 0;
    const uint32_t first = load_word(in + 4 * j) >> shift & LOW_NIBBLES;
    const uint32_t second = load_word(in + 4 * j + 16) >> shift & LOW_NIBBLES;
    lane.word(at + VECTOR * j, first | second << 4);
  }
}

/// Two bits of 32 columns, which lie `shift` bits high in 32 bytes.
void pack_two_bits(const uint8_t* in, int shift, const Lane& lane, int64_t at) {
  for (int64_t v = 0; v < 2; ++v) {
    uint32_t bits = 0;
    for (int64_t i = 0; i < 4; ++i) bits |= (load_word(in + 16 * v + 4 * i) >> shift & TWO_BITS) << 2 * i;
    lane.word(at + VECTOR * v, bits);
  }
}

/// One bit of 32 columns, which lies `shift` bits high in 32 bytes.
void pack_one_bit(const uint8_t* in, int shift, const Lane& lane, int64_t at) {
  uint32_t bits = 0;
  for (int64_t j = 0; j < 8; ++j) bits |= (load_word(in + 4 * j) >> shift & ONE_BIT) << j;
  lane.word(at, bits);
}

/// One bit of 32 columns, which lie side by side in one word.
void pack_fifth_bits(const uint8_t* in, const Lane& lane, int64_t at) {
  uint32_t bits = 0;
  for (int64_t j = 0; j < 8; ++j) {
    const uint32_t four = load_word(in) >> 4 * j & 15;
    bits |= (four * 0x00204081u & ONE_BIT) << j;  // bit i to the lowest of byte i
  }
  lane.word(at, bits);
}

/// Six-bit scales and minima of Q4_K and Q5_K: four whole ones each, then four whose upper bits the first ones hold.
void pack_scales(const uint8_t* in, int64_t k, const Lane& lane, int64_t at) {
  lane.byte(at, k < 4 ? in[k] & 63 : (in[k + 4] & 15) | in[k - 4] >> 6 << 4);
  lane.byte(at + ROW_GROUP, k < 4 ? in[k + 4] & 63 : in[k + 4] >> 4 | in[k] >> 6 << 4);
}

/// The sixteen scales of Q3_K: four bits, upper two elsewhere, less 32.
int q3_scale(const uint8_t* in, int64_t i) {
  const int low = i < 8 ? in[i] & 15 : in[i - 8] >> 4, high = in[8 + i % 4] >> 2 * (i / 4) & 3;
  return (low | high << 4) - 32;
}

/// `in` is one block of a row in the file.
void pack_block(Format format, const uint8_t* in, const Lane& lane) {
  const int64_t scales_end = 2 * ROW_GROUP, minima_end = 4 * ROW_GROUP;
  switch (format) {
    case Format::Q8_0:
      lane.half(0, in);
      for (int64_t j = 0; j < 8; ++j) lane.word(scales_end + VECTOR * j, load_word(in + 2 + 4 * j));
      break;
    case Format::Q4_0:
    case Format::IQ4_NL:
      lane.half(0, in);
      for (int64_t j = 0; j < 4; ++j) lane.word(scales_end + VECTOR * j, load_word(in + 2 + 4 * j));
      break;
    case Format::Q4_1:
      lane.half(0, in), lane.half(scales_end, in + 2);
      for (int64_t j = 0; j < 4; ++j) lane.word(minima_end + VECTOR * j, load_word(in + 4 + 4 * j));
      break;
    case Format::Q5_0:
      lane.half(0, in);
      for (int64_t j = 0; j < 4; ++j) lane.word(scales_end + VECTOR * j, load_word(in + 6 + 4 * j));
      pack_fifth_bits(in + 2, lane, scales_end + 4 * VECTOR);
      break;
    case Format::Q5_1:
      lane.half(0, in), lane.half(scales_end, in + 2);
      for (int64_t j = 0; j < 4; ++j) lane.word(minima_end + VECTOR * j, load_word(in + 8 + 4 * j));
      pack_fifth_bits(in + 4, lane, minima_end + 4 * VECTOR);
      break;
    case Format::Q4_K:
    case Format::Q5_K: {
      const bool fifth = format == Format::Q5_K;
      lane.half(0, in), lane.half(scales_end, in + 2);
      for (int64_t k = 0; k < 8; ++k) {
        const int64_t at = minima_end + k * (2 * ROW_GROUP + (fifth ? 5 : 4) * VECTOR);
        pack_scales(in + 4, k, lane, at);
        pack_nibbles(in + (fifth ? 48 : 16) + 32 * (k / 2), k % 2, lane, at + 2 * ROW_GROUP);
        if (fifth) pack_one_bit(in + 16, int(k), lane, at + 2 * ROW_GROUP + 4 * VECTOR);
      }
      break;
    }
    case Format::Q6_K:
      lane.half(0, in + 208);
      for (int64_t k = 0; k < 8; ++k) {
        const int64_t at = scales_end + k * (2 * ROW_GROUP + 6 * VECTOR);
        lane.byte(at, in[192 + 2 * k]), lane.byte(at + ROW_GROUP, in[192 + 2 * k + 1]);
        pack_nibbles(in + 64 * (k / 4) + 32 * (k % 2), k & 2, lane, at + 2 * ROW_GROUP);
        pack_two_bits(in + 128 + 32 * (k / 4), int(2 * (k % 4)), lane, at + 2 * ROW_GROUP + 4 * VECTOR);
      }
      break;
    case Format::Q3_K:
      lane.half(0, in + 108);
      for (int64_t k = 0; k < 8; ++k) {
        const int64_t at = scales_end + k * (2 * ROW_GROUP + 3 * VECTOR);
        lane.byte(at, q3_scale(in + 96, 2 * k)), lane.byte(at + ROW_GROUP, q3_scale(in + 96, 2 * k + 1));
        pack_two_bits(in + 32 + 32 * (k / 4), int(2 * (k % 4)), lane, at + 2 * ROW_GROUP);
        pack_one_bit(in, int(k), lane, at + 2 * ROW_GROUP + 2 * VECTOR);
      }
      break;
    case Format::Q2_K:
      lane.half(0, in + 80), lane.half(scales_end, in + 82);
      for (int64_t k = 0; k < 8; ++k) {
        const int64_t at = minima_end + k * (2 * ROW_GROUP + 2 * VECTOR);
        lane.byte(at, in[2 * k]), lane.byte(at + ROW_GROUP, in[2 * k + 1]);
        pack_two_bits(in + 16 + 32 * (k / 4), int(2 * (k % 4)), lane, at + 2 * ROW_GROUP);
      }
      break;
    default: break;  // floats have no blocks in a file
  }
}

/// One row group of numbers of SIZE bytes, transposed.
template <int64_t SIZE>
void pack_floats(const Matrix& file, int64_t group, uint8_t* out) {
  const int64_t row = group * ROW_GROUP, rows = std::min(ROW_GROUP, file.rows - row);
  for (int64_t column = 0; column < file.columns; column += BLOCK)
    for (int64_t r = 0; r < rows; ++r) {
      const uint8_t* in = file.data + ((row + r) * file.columns + column) * SIZE;
      uint8_t* to = out + (column * ROW_GROUP + r) * SIZE;
      const int64_t count = std::min(BLOCK, file.columns - column);
      for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * ROW_GROUP * SIZE, in + i * SIZE, SIZE);
    }
}

template <Format FORMAT>
void pack_quantized(const Matrix& file, int64_t group, uint8_t* out) {
  constexpr BlockLayout layout = block_layout(FORMAT);
  const int64_t row = group * ROW_GROUP, rows = std::min(ROW_GROUP, file.rows - row);
  const int64_t blocks = (file.columns + layout.columns - 1) / layout.columns;
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t r = 0; r < rows; ++r)
      pack_block(FORMAT, file.data + ((row + r) * blocks + b) * layout.file_bytes,
                 Lane{out + b * layout.packed_bytes, r});
}

void pack_group(const Matrix& file, int64_t group, uint8_t* out) {
  switch (file.format) {
    case Format::F32: return pack_floats<4>(file, group, out);
    case Format::F16:
    case Format::BF16: return pack_floats<2>(file, group, out);
    case Format::Q8_0: return pack_quantized<Format::Q8_0>(file, group, out);
    case Format::Q4_0: return pack_quantized<Format::Q4_0>(file, group, out);
    case Format::Q4_1: return pack_quantized<Format::Q4_1>(file, group, out);
    case Format::Q5_0: return pack_quantized<Format::Q5_0>(file, group, out);
    case Format::Q5_1: return pack_quantized<Format::Q5_1>(file, group, out);
    case Format::IQ4_NL: return pack_quantized<Format::IQ4_NL>(file, group, out);
    case Format::Q2_K: return pack_quantized<Format::Q2_K>(file, group, out);
    case Format::Q3_K: return pack_quantized<Format::Q3_K>(file, group, out);
    case Format::Q4_K: return pack_quantized<Format::Q4_K>(file, group, out);
    case Format::Q5_K: return pack_quantized<Format::Q5_K>(file, group, out);
    case Format::Q6_K: return pack_quantized<Format::Q6_K>(file, group, out);
  }
}

}  // namespace

void pack_groups(const Matrix& file, int64_t first, int64_t last, uint8_t* out) {
  const int64_t bytes = file.group_bytes();
  for (int64_t group = first; group < last; ++group, out += bytes) {
    // What the rows and columns do not fill stays zero.
    const bool whole = (group + 1) * ROW_GROUP <= file.rows && file.columns % BLOCK == 0;
    if (!whole) std::memset(out, 0, size_t(bytes));
    pack_group(file, group, out);
  }
}

}  // namespace nextword
