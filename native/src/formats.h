// How weights lie in memory: in files row by row, packed for the kernels with 16 rows side by side.
#pragma once

#include <cstdint>

namespace nextword {

/// Columns that share a scale of the activations; rows of activations are padded with zeros to whole blocks.
constexpr int64_t BLOCK = 32;
constexpr int64_t padded(int64_t count) { return (count + BLOCK - 1) / BLOCK * BLOCK; }

/// Element types of weights, by ggml's names; the quantised ones hold blocks of 32 or 256 columns with scales.
enum class Format { F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K };

constexpr bool is_quantized(Format format) {
  return format != Format::F32 && format != Format::F16 && format != Format::BF16;
}

/// Rows that lie side by side in a packed matrix: one lane of a 512-bit vector each.
constexpr int64_t ROW_GROUP = 16;

/// A block of a row in a file, and the same block of ROW_GROUP packed rows.
///
/// A packed matrix is a sequence of row groups; a group is a sequence of blocks, column after column. The rows that the
/// last group lacks are zero, and so are the columns that the last block lacks. Inside a block, "word j" of a row is
/// the codes of its columns 4j .. 4j + 3, a byte each, and the word j of all 16 rows makes one vector of 64 bytes;
/// "x[16]" is one number a row.
///
///   F32, F16, BF16  for each of 32 columns: x[16]
///   Q8_0            d[16] f16, 8 words of int8
///   Q4_0, IQ4_NL    d[16] f16, nibbles: 4 vectors with word j in the low four bits, word j + 4 in the high ones
///   Q4_1            d[16] m[16] f16, nibbles
///   Q5_0            d[16] f16, nibbles, fifth bits: bit j of byte 4r + i is of row r, column 4j + i
///   Q5_1            d[16] m[16] f16, nibbles, fifth bits
///   Q4_K            d[16] dmin[16] f16, then for each 32 columns: scale[16] min[16] u8, nibbles
///   Q5_K            d[16] dmin[16] f16, then for each 32 columns: scale[16] min[16] u8, nibbles, fifth bits
///   Q6_K            d[16] f16, then for each 32 columns: scale[2][16] int8 (of 16 columns each), nibbles, 2 vectors of
///                   high bits: bits 2i and 2i + 1 of vector v are of word 4v + i
///   Q3_K            d[16] f16, then for each 32 columns: scale[2][16] int8 (its 32 taken off), 2 vectors of low bits
///                   as Q6_K's high ones, third bits as Q5_0's fifth
///   Q2_K            d[16] dmin[16] f16, then for each 32 columns: scale and min [2][16] u8 (low and high four bits, of
///                   16 columns each), 2 vectors of two bits as Q3_K's
struct BlockLayout { int64_t columns, file_bytes, packed_bytes; };

constexpr BlockLayout block_layout(Format format) {
  switch (format) {
    case Format::F32: return {32, 128, 16 * 128};
    case Format::F16:
    case Format::BF16: return {32, 64, 16 * 64};
    case Format::Q8_0: return {32, 34, 16 * 34};
    case Format::Q4_0:
    case Format::IQ4_NL: return {32, 18, 16 * 18};
    case Format::Q4_1: return {32, 20, 16 * 20};
    case Format::Q5_0: return {32, 22, 16 * 22};
    case Format::Q5_1: return {32, 24, 16 * 24};
    case Format::Q2_K: return {256, 84, 64 + 8 * (32 + 2 * 64)};
    case Format::Q3_K: return {256, 110, 32 + 8 * (32 + 3 * 64)};
    case Format::Q4_K: return {256, 144, 64 + 8 * (32 + 4 * 64)};
    case Format::Q5_K: return {256, 176, 64 + 8 * (32 + 5 * 64)};
    case Format::Q6_K: return {256, 210, 32 + 8 * (32 + 6 * 64)};
  }
  return {};
}

/// How the activations are that meet quantised weights.
enum class ActivationFormat { F32, INT16, INT8 };

/// Activations of several tokens, quantised in blocks of 32 columns: x is about scale * code.
///
/// With `most` = 16383 (INT16) or 127 (INT8): scale = max|x| / most, code = nearest(x * (most / max|x|)), ties to even;
/// where max|x| is below 1e-30 all of it is 0; where it is no finite number, codes are 0 and the scale is NaN. An
/// output of a product is the sum, block after block and every operation rounded on its own, of
///
///   (weight scale * activation scale) * float(the exact sum of weight codes x activation codes)
///
/// and behind it, where the format has minima, of minimum * sum (Q2_K: of each half's minimum * (scale * half sum)).
/// The weight scale is d, or d * scale; Q6_K's, Q3_K's and Q2_K's scales of 16 columns belong to the exact sum instead:
/// 16383 keeps it within 32 bits. Minima are m, or -(dmin * min). The order never depends on rows, tokens or vectors:
/// every instruction set gives the same bits.
struct QuantizedActivations {
  ActivationFormat format;
  int64_t blocks;      // of a token
  int16_t* codes;      // [token][block][32], each word of four columns as columns 0 2 1 3
  int8_t* bytes;       // [token][block][32] in the columns' order, for INT8 only
  float* scales;       // [token][block]
  float* sums;         // [token][block]: scale * float(sum of the codes)
  int32_t* half_sums;  // [token][block][2]: sums of 16 codes
};

/// A weight matrix. It does not own its memory; what lies in a mapped file may not be aligned.
struct Matrix {
  Format format = Format::F32;
  int64_t rows = 0, columns = 0;
  const uint8_t* data = nullptr;    // as the file has it, row by row
  const uint8_t* packed = nullptr;  // the same, packed

  int64_t blocks() const { return padded(columns) / BLOCK; }
  /// Bytes of one row of `data`: floats are not padded, blocks are whole.
  int64_t row_bytes() const {
    const BlockLayout block = block_layout(format);
    return columns * block.file_bytes / block.columns;
  }
  int64_t groups() const { return (rows + ROW_GROUP - 1) / ROW_GROUP; }
  /// Bytes of one packed row group.
  int64_t group_bytes() const {
    const BlockLayout block = block_layout(format);
    return (columns + block.columns - 1) / block.columns * block.packed_bytes;
  }
  const uint8_t* group(int64_t i) const { return packed + i * group_bytes(); }
};

}  // namespace nextword
