// Holds packed weights and the products with them against plain loops over the layout of files, to the bit, without
// Python. Ends with 1 if anything differs. An argument is a seed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels.h"
#include "named_formats.h"
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

/// A matrix of random bytes as a file has it, and packed. Scales are numbers of ordinary size.
struct Packed {
  Matrix matrix;
  std::vector<uint8_t> file, packed;

  /// All bytes random, or all of them 0, 127, 128 or 255.
  Packed(Format format, int64_t rows, int64_t columns, int byte_of_all = -1) {
    const BlockLayout layout = block_layout(format);
    const int64_t blocks = (columns + layout.columns - 1) / layout.columns;
    const int64_t bytes = is_quantized(format) ? blocks * layout.file_bytes : columns * layout.file_bytes / BLOCK;
    file.resize(size_t(rows * bytes));
    for (uint8_t& byte : file) byte = uint8_t(byte_of_all < 0 ? between(0, 255) : byte_of_all);
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

int signed_byte(int byte) { return byte < 128 ? byte : byte - 256; }

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
      block.factors[0] = signed_byte(first), block.factors[1] = signed_byte(second);
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
      case Format::Q8_0: code = signed_byte(byte(j, i)); break;
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

struct alignas(64) Scratch { uint8_t bytes[PANEL_BYTES]; };

/// Quantised activations that own their memory, at the ends of which a sanitizer sees what does not belong to it.
struct Quantized {
  std::vector<int16_t> codes;
  std::vector<int8_t> bytes;
  std::vector<float> scales, sums;
  std::vector<int32_t> half_sums;
  QuantizedActivations view;

  Quantized(ActivationFormat format, int64_t tokens, int64_t blocks)
      : codes(size_t(tokens * blocks * BLOCK)), bytes(format == ActivationFormat::INT8 ? codes.size() : 0),
        scales(size_t(tokens * blocks)), sums(scales.size()), half_sums(2 * scales.size()),
        view{format, blocks, codes.data(), bytes.data(), scales.data(), sums.data(), half_sums.data()} {}

  bool operator==(const Quantized& other) const {
    return codes == other.codes && bytes == other.bytes && half_sums == other.half_sums &&
           equal(scales, other.scales) && equal(sums, other.sums);
  }
  /// To the bit, but one NaN is as good as another.
  static bool equal(const std::vector<float>& a, const std::vector<float>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
      return (std::isnan(x) && std::isnan(y)) || (x == y && std::signbit(x) == std::signbit(y));
    });
  }
};

void quantize(const float* x, const Quantized& out, int64_t token) {
  const QuantizedActivations& q = out.view;
  const float most = q.format == ActivationFormat::INT16 ? 16383 : 127;
  for (int64_t b = 0; b < q.blocks; ++b) {
    const int64_t at = token * q.blocks + b;
    float size = 0;
    bool finite = true;
    for (int64_t i = 0; i < BLOCK; ++i) {
      size = std::max(size, std::fabs(x[b * BLOCK + i])), finite = finite && std::isfinite(x[b * BLOCK + i]);
    }
    const bool any = finite && size >= 1e-30f;
    const float inverse = any ? most / size : 0;
    int32_t sums[2] = {0, 0};
    for (int64_t i = 0; i < BLOCK; ++i) {
      const int code = any ? int(std::nearbyint(x[b * BLOCK + i] * inverse)) : 0;
      const int64_t place[4] = {0, 2, 1, 3};
      q.codes[at * BLOCK + i / 4 * 4 + place[i % 4]] = int16_t(code), sums[i / 16] += code;
      if (q.format == ActivationFormat::INT8) q.bytes[at * BLOCK + i] = int8_t(code);
    }
    q.scales[at] = !finite ? NAN : any ? size / most : 0;
    q.sums[at] = q.scales[at] * float(sums[0] + sums[1]);
    q.half_sums[2 * at] = sums[0], q.half_sums[2 * at + 1] = sums[1];
  }
}

/// The code of a column.
int64_t code(const QuantizedActivations& x, int64_t block, int64_t i) {
  const int64_t place[4] = {0, 2, 1, 3};
  return x.codes[block * BLOCK + i / 4 * 4 + place[i % 4]];
}

/// One row's product with one token: the definition that formats.h gives.
float product(const Packed& weights, const std::vector<reference::Block>& row, const QuantizedActivations& x,
              int64_t token) {
  float value = 0;
  for (int64_t b = 0; b < x.blocks; ++b) {
    const int64_t at = token * x.blocks + b;
    const reference::Block& block = row[size_t(b)];
    int64_t sum = 0, partial = 0, largest = 0;
    for (int64_t i = 0; i < BLOCK; ++i) {
      partial += std::abs(block.codes[i] * code(x, at, i));
      sum += block.codes[i] * code(x, at, i) * (block.factors_are_integers ? block.factors[i / 16] : 1);
      largest = std::max({largest, std::abs(sum), partial});
    }
    expect(largest <= INT32_MAX, "a sum of 32 bits suffices");
    const float scale = block.factors_are_integers ? block.d : block.d * float(block.factors[0]);
    // volatile: each operation is rounded on its own, whatever the compiler would like.
    volatile float step = scale * x.scales[at];
    step = step * float(sum), value += step;
    if (weights.matrix.format == Format::Q2_K) {
      for (int half = 0; half < 2; ++half) {
        step = x.scales[at] * float(x.half_sums[2 * at + half]);
        step = block.minima[half] * step, value += step;
      }
    } else if (reference::has_minima(weights.matrix.format)) {
      step = block.minima[0] * x.sums[at], value += step;
    }
  }
  return value;
}

/// Numbers of very different sizes, and what is no number; or the largest codes, all above zero, all below, or mixed.
std::vector<float> activations(int64_t tokens, int64_t width, bool extreme) {
  std::vector<float> x(size_t(tokens * width));
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = float(std::normal_distribution<double>()(random_bits));
    const auto token = int64_t(i) / width;
    if (extreme) x[i] = token % 3 == 0 ? 3.0f : token % 3 == 1 ? -3.0f : std::copysign(3.0f, x[i]);
  }
  if (!extreme)
    for (const float odd : {1e-38f, 1e-31f, 3e38f, 1e20f, 0.0f, -0.0f, float(INFINITY), float(NAN)}) {
      const auto block = between(0, int64_t(x.size()) / BLOCK - 1) * BLOCK;
      for (int64_t i = 0; i < BLOCK; ++i) x[size_t(block + i)] *= std::isnan(odd) ? 1 : odd;
      if (tokens > 4 && !std::isfinite(odd)) x[size_t(block + between(0, 31))] = odd;
    }
  return x;
}

void check_products(Format format, const std::string& name, ActivationFormat activation, int64_t rows, int64_t columns,
                    int64_t tokens, int byte_of_all) {
  const Packed weights(format, rows, columns, byte_of_all);
  const int64_t blocks = weights.matrix.blocks(), width = blocks * BLOCK, stride = rows + 3;
  std::vector<float> x = activations(tokens, width, byte_of_all >= 0);
  for (int64_t t = 0; t < tokens; ++t) std::fill(x.begin() + t * width + columns, x.begin() + (t + 1) * width, 0.0f);
  const std::vector<float> bias = activations(1, padded(rows), true),
                           addend = activations(1, padded(tokens * stride), true);
  const Quantized expected(activation, tokens, blocks);
  for (int64_t t = 0; t < tokens; ++t) quantize(x.data() + t * width, expected, t);
  std::vector<float> products(addend), plain(size_t(tokens * stride), 7.0f);
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<reference::Block> row;
    row.reserve(size_t(blocks));
    for (int64_t b = 0; b < blocks; ++b) row.push_back(reference::decode(format, weights.row(r), b));
    for (int64_t t = 0; t < tokens; ++t) {
      const float value = product(weights, row, expected.view, t);
      plain[size_t(t * stride + r)] = value;
      volatile float sum = value + bias[size_t(r)];
      products[size_t(t * stride + r)] = sum + addend[size_t(t * stride + r)];
    }
  }
  for (auto tables = available_kernels(); *tables; ++tables) {
    const Kernels& kernels = **tables;
    const std::string what = std::string(kernels.name) + ", " + name + " x " + std::to_string(tokens) + " tokens, " +
                             std::to_string(rows) + " x " + std::to_string(columns);
    const Quantized quantized(activation, tokens, blocks);
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t half = blocks / 2;
      kernels.quantize(x.data() + t * width, 0, half, quantized.view, t);
      kernels.quantize(x.data() + t * width, half, blocks, quantized.view, t);
    }
    expect(quantized == expected, "activations of " + what);
    auto scratch = std::make_unique<Scratch>();
    std::vector<float> out(addend), alone(size_t(tokens * stride), 7.0f);
    const int64_t cut = rows / 2 / ROW_GROUP * ROW_GROUP;
    kernels.matmul_quantized(weights.matrix, 0, cut, quantized.view, tokens, bias.data(), out.data(), out.data(),
                             stride, scratch->bytes);
    kernels.matmul_quantized(weights.matrix, cut, rows, quantized.view, tokens, bias.data(), out.data(), out.data(),
                             stride, scratch->bytes);
    expect(Quantized::equal(out, products), what);
    kernels.matmul_quantized(weights.matrix, 0, rows, quantized.view, tokens, nullptr, nullptr, alone.data(), stride,
                             scratch->bytes);
    expect(Quantized::equal(alone, plain), "neither bias nor addend: " + what);
  }
}

void check_products() {
  for (const auto& [format, name] : QUANTIZED)
    for (const ActivationFormat activation : {ActivationFormat::INT16, ActivationFormat::INT8}) {
      for (const int64_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 9})
        check_products(format, name, activation, between(1, 70), between(1, 700), tokens, -1);
      check_products(format, name, activation, 35, 1000, 41, -1);
      check_products(format, name, activation, 17, 576, 256, -1);
      for (const int byte : {0, 127, 128, 255})
        for (const int64_t tokens : {1, 4, 22}) check_products(format, name, activation, 16, 512, tokens, byte);
    }
}

/// Every weight as float32, (d * factor) * code + minimum: its row's product with a column of the unit matrix.
void check_values() {
  constexpr int64_t ROWS = 35, COLUMNS = 700, WIDTH = padded(COLUMNS);
  std::vector<float> unit(size_t(WIDTH * WIDTH)), out(size_t(WIDTH * ROWS));
  for (int64_t i = 0; i < WIDTH; ++i) unit[size_t(i * WIDTH + i)] = 1;
  const auto scratch = std::make_unique<Scratch>();
  for (auto tables = available_kernels(); *tables; ++tables)
    for (const auto& [format, name] : QUANTIZED) {
      const Packed weights(format, ROWS, COLUMNS);
      (*tables)->matmul(weights.matrix, 0, ROWS, unit.data(), WIDTH, WIDTH, nullptr, nullptr, out.data(), ROWS,
                        reinterpret_cast<float*>(scratch->bytes));
      for (int64_t r = 0; r < ROWS; ++r)
        for (int64_t i = 0; i < WIDTH; ++i) {
          const reference::Block block = reference::decode(format, weights.row(r), i / BLOCK);
          const int64_t half = i % BLOCK / 16;
          volatile float value = block.d * float(block.factors[half]);
          value = value * float(block.codes[i % BLOCK]);
          if (reference::has_minima(format)) value = value + block.minima[half];
          expect(out[size_t(i * ROWS + r)] == value, std::string((*tables)->name) + ", a value of " + name);
        }
    }
}

}  // namespace

int main(int count, char** arguments) {
  random_bits.seed(count > 1 ? unsigned(std::strtoul(arguments[1], nullptr, 10)) : 0);
  check_packing();
  check_values();
  check_products();
  for (auto tables = available_kernels(); *tables; ++tables) std::printf("%s ", (*tables)->name);
  std::printf(failures ? "%d failures\n" : "all right\n", failures);
  return failures ? 1 : 0;
}
