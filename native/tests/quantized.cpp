// Holds packed weights and the products with them against plain loops over the layout of files, to the bit, without
// Python. Ends with 1 if anything differs. An argument is a seed.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "packing.h"
#include "reference.h"

using namespace nextword;

namespace {

// NOLINTNEXTLINE(bugprone-random-generator-seed,bugprone-throwing-static-initialization): main seeds it
std::mt19937 random_bits;
int failures = 0;

int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }

void expect(bool holds, const std::string& what) {
  if (!holds && ++failures <= 20) std::printf("FAILED: %s\n", what.c_str());
}

struct Named {
  Format format;
  const char* name;
};
constexpr Named QUANTIZED[] = {{Format::Q8_0, "Q8_0"},     {Format::Q4_0, "Q4_0"}, {Format::Q4_1, "Q4_1"},
                               {Format::Q5_0, "Q5_0"},     {Format::Q5_1, "Q5_1"}, {Format::Q2_K, "Q2_K"},
                               {Format::Q3_K, "Q3_K"},     {Format::Q4_K, "Q4_K"}, {Format::Q5_K, "Q5_K"},
                               {Format::IQ4_NL, "IQ4_NL"}, {Format::Q6_K, "Q6_K"}};

/// A matrix of random bytes as a file has it, and packed. Scales are numbers of ordinary size.
struct Packed {
  Matrix matrix;
  std::vector<uint8_t> file, packed;

  Packed(Format format, int64_t rows, int64_t columns) {
    const BlockLayout layout = block_layout(format);
    const int64_t blocks = (columns + layout.columns - 1) / layout.columns;
    const int64_t bytes = is_quantized(format) ? blocks * layout.file_bytes : columns * layout.file_bytes / BLOCK;
    file.resize(size_t(rows * bytes));
    for (uint8_t& byte : file) byte = uint8_t(between(0, 255));
    matrix = {format, rows, columns, file.data(), nullptr};
    const int64_t at = format == Format::Q6_K ? 208 : format == Format::Q3_K ? 108 : format == Format::Q2_K ? 80 : 0;
    for (int64_t block = 0; is_quantized(format) && block < rows * blocks; ++block) {
      uint8_t* p = file.data() + block * layout.file_bytes + at;
      p[1] = uint8_t((p[1] & 0x83) | 0x20);  // exponents of which none overflows
      if (reference::has_minima(format)) p[3] = uint8_t((p[3] & 0x83) | 0x20);
    }
    packed.resize(size_t(matrix.groups() * matrix.group_bytes()), 0xaa);
    matrix.packed = packed.data();
    pack_groups(matrix, 0, matrix.groups(), packed.data());
  }

  const uint8_t* row(int64_t r) const { return file.data() + r * int64_t(file.size()) / matrix.rows; }
};

/// What formats.h says of packed blocks, number by number: 32 columns of one of 16 rows.
reference::Block unpack(Format format, const uint8_t* group, int64_t b, int64_t r) {
  const BlockLayout layout = block_layout(format);
  const int64_t per = layout.columns / BLOCK;
  const uint8_t* p = group + b / per * layout.packed_bytes;
  reference::Block block;
  block.d = reference::half(p + 2 * r);
  const bool minima = reference::has_minima(format);
  const float m = minima ? reference::half(p + 32 + 2 * r) : 0;
  p += minima ? 64 : 32;
  if (per > 1) {
    p += b % per * ((layout.packed_bytes - (minima ? 64 : 32)) / 8);
    const int first = p[r], second = p[16 + r];
    p += 32;
    block.factors_are_integers = format == Format::Q6_K || format == Format::Q3_K || format == Format::Q2_K;
    if (format == Format::Q4_K || format == Format::Q5_K) {
      block.factors[0] = block.factors[1] = first, block.minima[0] = block.minima[1] = -(m * float(second));
    } else if (format == Format::Q2_K) {
      block.factors[0] = first & 15, block.factors[1] = second & 15;
      block.minima[0] = -(m * float(first >> 4)), block.minima[1] = -(m * float(second >> 4));
    } else {
      block.factors[0] = int8_t(first), block.factors[1] = int8_t(second);
    }
  } else if (minima) {
    block.minima[0] = block.minima[1] = m;
  }
  const auto byte = [&](int64_t vector, int64_t i) { return int(p[64 * vector + 4 * r + i]); };
  const auto two_bits = [&](int64_t vector, int64_t j, int64_t i) {
    return byte(vector + j / 4, i) >> 2 * (j % 4) & 3;
  };
  for (int64_t column = 0; column < BLOCK; ++column) {
    const int64_t j = column / 4, i = column % 4;
    const auto nibble = [&] { return j < 4 ? byte(j, i) & 15 : byte(j - 4, i) >> 4; };
    int& code = block.codes[column];
    switch (format) {
      case Format::Q8_0: code = int8_t(byte(j, i)); break;
      case Format::Q4_0: code = nibble() - 8; break;
      case Format::Q4_1:
      case Format::Q4_K: code = nibble(); break;
      case Format::Q5_0: code = (nibble() | (byte(4, i) >> j & 1) << 4) - 16; break;
      case Format::Q5_1:
      case Format::Q5_K: code = nibble() | (byte(4, i) >> j & 1) << 4; break;
      case Format::Q6_K: code = (nibble() | two_bits(4, j, i) << 4) - 32; break;
      case Format::Q3_K: code = (two_bits(0, j, i) | (byte(2, i) >> j & 1) << 2) - 4; break;
      case Format::Q2_K: code = two_bits(0, j, i); break;
      default: {
        static constexpr int TABLE[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
        code = TABLE[nibble()];
      }
    }
  }
  return block;
}

bool same(const reference::Block& a, const reference::Block& b) {
  return std::equal(a.codes, a.codes + 32, b.codes) && a.d == b.d && std::equal(a.factors, a.factors + 2, b.factors) &&
         a.factors_are_integers == b.factors_are_integers && std::equal(a.minima, a.minima + 2, b.minima);
}

void check_packing() {
  for (const auto& [format, name] : QUANTIZED)
    for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{16, 256}, {35, 300}, {1, 32}, {50, 1000}}) {
      const Packed stored(format, rows, columns);
      for (int64_t r = 0; r < stored.matrix.groups() * ROW_GROUP; ++r)
        for (int64_t b = 0; b < stored.matrix.blocks(); ++b) {
          const reference::Block packed = unpack(format, stored.matrix.group(r / ROW_GROUP), b, r % ROW_GROUP);
          if (r < rows)
            expect(same(packed, reference::decode(format, stored.row(r), b)), std::string("packed ") + name);
          else expect(packed.d == 0 && packed.minima[0] == 0 && packed.minima[1] == 0, "rows that are not there");
        }
    }
  for (const Format format : {Format::F32, Format::F16, Format::BF16})
    for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{16, 64}, {35, 50}, {1, 1}, {50, 1000}}) {
      const Packed stored(format, rows, columns);
      const int64_t size = format == Format::F32 ? 4 : 2;
      const std::vector<uint8_t> zero(4);
      for (int64_t r = 0; r < stored.matrix.groups() * ROW_GROUP; ++r)
        for (int64_t c = 0; c < padded(columns); ++c) {
          const uint8_t* expected = r < rows && c < columns ? stored.row(r) + c * size : zero.data();
          const uint8_t* packed = stored.matrix.group(r / ROW_GROUP) + (c * ROW_GROUP + r % ROW_GROUP) * size;
          expect(std::memcmp(packed, expected, size_t(size)) == 0, "packed floats");
        }
    }
}

}  // namespace

int main(int count, char** arguments) {
  random_bits.seed(count > 1 ? unsigned(std::strtoul(arguments[1], nullptr, 10)) : 0);
  check_packing();
  std::printf(failures ? "%d failures\n" : "all right\n", failures);
  return failures ? 1 : 0;
}
