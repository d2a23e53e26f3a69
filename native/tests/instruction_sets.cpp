// Every set of kernels gives the same bits: hashes of what each one makes of the same numbers, held against those
// written down here, so that sets that no one machine has are held against each other too. Ends with 1 if one differs.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <tuple>
#include <vector>

#include "fma.h"
#include "kernels.h"
#include "model.h"
#include "packing.h"
#include "sine.h"

using namespace nextword;

namespace {

int failures = 0;

/// Numbers that are the same on every machine, as a library's distributions are not (SplitMix64).
struct Generator {
  uint64_t state;

  uint64_t bits() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  int64_t between(int64_t low, int64_t high) { return low + int64_t(bits() % uint64_t(high - low + 1)); }
  /// -1 to 1, small ones more often: the product of two.
  float number() {
    const auto uniform = [this] { return double(int64_t(bits() >> 39) - (1 << 24)) / (1 << 24); };
    const double first = uniform();
    return float(first * uniform());
  }
  std::vector<float> numbers(int64_t count, float size = 1) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = size * number();
    return values;
  }
};

/// FNV-1a of all that is added.
struct Hash {
  uint64_t value = 0xcbf29ce484222325u;

  void add(const void* data, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) value = (value ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3u;
  }
  void add(const std::vector<float>& values) { add(values.data(), values.size() * sizeof(float)); }
};

void expect_hash(const char* what, const Hash& hash, uint64_t expected) {
  const bool same = hash.value == expected;
  std::printf("  %-24s %016llx%s\n", what, static_cast<unsigned long long>(hash.value), same ? "" : "  DIFFERS");
  failures += !same;
}

Hash norms(const Kernels& kernels) {
  Generator random{1};
  Hash hash;
  for (int64_t width = 1; width < 200; ++width) {
    const auto x = random.numbers(width, 9), weight = random.numbers(width), bias = random.numbers(width);
    std::vector<float> out(static_cast<size_t>(width));
    for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
      kernels.normalize(x.data(), width, weight.data(), b, 1e-5f, out.data());
      hash.add(out);
    }
  }
  return hash;
}

Hash activations(const Kernels& kernels) {
  Generator random{2};
  Hash hash;
  for (const Activation kind : {Activation::GELU, Activation::GELU_TANH, Activation::RELU_SQUARED, Activation::SWIGLU})
    for (const float size : {1e-30f, 0.1f, 4.0f, 30.0f, 500.0f}) {
      auto x = random.numbers(4096, size);
      const auto up = random.numbers(4096);
      kernels.activate(kind, x.data(), up.data(), 4096);
      hash.add(x);
    }
  return hash;
}

Hash attention(const Kernels& kernels, CacheFormat format) {
  Generator random{3};
  Hash hash;
  for (int round = 0; round < 30; ++round) {
    const int64_t C = random.between(1, 140), count = random.between(1, 60), tokens = random.between(1, 1400);
    Config config{};
    config.head_dim = C, config.num_kv_heads = 1, config.num_layers = 1;
    const Cache memory(config, tokens, format, 0);
    const HeadCache cache = memory.head(0, 0);
    for (int64_t j = 0; j < tokens; ++j) {
      const auto key = random.numbers(C, 3), value = random.numbers(C);
      kernels.store_kv(cache, j, key.data(), value.data());
    }
    const auto q = random.numbers(count * C, 3);
    std::vector<float> out(q.size()), scratch(size_t(ATTEND_QUERIES * padded(C)));
    std::vector<Query> queries;
    for (int64_t n = 0; n < count; ++n) {
      const int64_t last = random.between(1, tokens);
      queries.push_back({&q[size_t(n * C)], &out[size_t(n * C)], random.between(0, last - 1), last});
    }
    kernels.attend(cache, queries.data(), count, 1.0f / 8, scratch.data());
    hash.add(out);
  }
  return hash;
}

/// A packed matrix of numbers of ordinary size; scales of blocks too.
struct Packed {
  Matrix matrix;
  std::vector<uint8_t> bytes;

  Packed(Generator& random, Format format, int64_t rows, int64_t columns) {
    const BlockLayout layout = block_layout(format);
    const int64_t blocks = (columns + layout.columns - 1) / layout.columns;
    const bool floats = !is_quantized(format);
    std::vector<uint8_t> file(
        size_t(rows * (floats ? columns * layout.file_bytes / BLOCK : blocks * layout.file_bytes)));
    for (uint8_t& byte : file) byte = uint8_t(random.bits() >> 56);
    const int64_t at = format == Format::Q6_K ? 208 : format == Format::Q3_K ? 108 : format == Format::Q2_K ? 80 : 0;
    for (int64_t block = 0; !floats && block < rows * blocks; ++block)
      for (int64_t i = at; i < at + 4 && i < layout.file_bytes; i += 2) {  // d, and m where there is one
        uint8_t& high = file[size_t(block * layout.file_bytes + i + 1)];
        if (i == at || at == 80 || format == Format::Q4_1 || format == Format::Q5_1 || format == Format::Q4_K ||
            format == Format::Q5_K)
          high = uint8_t((high & 0x83) | 0x20);
      }
    const int64_t size = layout.file_bytes / BLOCK, last = size - 1;  // of one float
    for (size_t i = 0; floats && i < file.size(); i += size_t(size))
      file[i + size_t(last)] = uint8_t((file[i + size_t(last)] & 0x83) | (format == Format::F16 ? 0x30 : 0x3c));
    matrix = {format, rows, columns, file.data(), nullptr};
    bytes.resize(size_t(matrix.groups() * matrix.group_bytes()));
    pack_groups(matrix, 0, matrix.groups(), bytes.data());
    matrix.packed = bytes.data();
  }
};

/// Products with float32 activations; a token's results do not depend on the others.
Hash products(const Kernels& kernels, Format format) {
  Generator random{6};
  Hash hash;
  std::vector<float> scratch(size_t(PANEL_BYTES / 4));
  for (const int64_t tokens : {1, 2, 3, 5, 6, 7, 12, 25, 200}) {
    const int64_t rows = random.between(1, 90),
                  columns = BLOCK * random.between(1, 10) - (is_quantized(format) ? 0 : 5);
    const Packed packed(random, format, rows, columns);
    const int64_t width = padded(columns);
    auto x = random.numbers(tokens * width);
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t c = columns; c < width; ++c) x[size_t(t * width + c)] = 0;
    const auto bias = random.numbers(rows), addend = random.numbers(tokens * rows);
    std::vector<float> out(addend.size()), alone(out.size());
    kernels.matmul(packed.matrix, 0, rows, x.data(), width, tokens, bias.data(), addend.data(), out.data(), rows,
                   scratch.data());
    for (int64_t t = 0; t < tokens; ++t)
      kernels.matmul(packed.matrix, 0, rows, &x[size_t(t * width)], width, 1, bias.data(), &addend[size_t(t * rows)],
                     &alone[size_t(t * rows)], rows, scratch.data());
    if (out != alone) std::printf("  a token alone differs\n"), ++failures;
    hash.add(out);
  }
  return hash;
}

/// std::fma and its emulation: numbers of all sizes, ties, what cancels, what is no number.
void check_fma() {
  Generator random{4};
  int64_t wrong = 0;
  constexpr int64_t ROUNDS = 4'000'000;
  const auto number = [&](int kind) {
    uint32_t bits = uint32_t(random.bits());
    if (kind & 1) bits = (bits & 0x80ff00ffu) | 0x3f000000u;          // few bits: ties
    if (kind & 2) bits = (bits & 0x8000ffffu) | 0x3f800000u;          // of one size
    if (kind & 4) bits &= 0x80ffffffu;                                // tiny, subnormal
    if (kind == 7) bits = (bits & 0x80000001u) | 0x7f7ffffeu;         // the largest
    if (bits % 1024 == 3) bits = (bits & 0x80000000u) | 0x7f800000u;  // infinite
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  };
  const auto bits_of = [](float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
  };
  for (int64_t i = 0; i < ROUNDS; ++i) {
    const float a = number(int(random.bits() % 8)), b = number(int(random.bits() % 8));
    float c = number(int(random.bits() % 8));
    if (i % 3 == 0) c = -a * b;                                      // only what the product has lost is left
    if (i % 3 == 1) c = a * b * float(1 << random.between(22, 26));  // the product is about half a unit of the sum
    const float exact = std::fma(a, b, c), emulated = emulated_fma(a, b, c);
    wrong += std::isnan(exact) ? !std::isnan(emulated) : bits_of(exact) != bits_of(emulated);
  }
  std::printf("fma emulated: %lld of %lld differ\n", static_cast<long long>(wrong), static_cast<long long>(ROUNDS));
  failures += wrong != 0;
}

/// Angles of rotary positions: near a library's own, and the same everywhere.
void check_cos_sin() {
  Generator random{5};
  Hash hash;
  double worst = 0;
  for (int64_t i = 0; i < 200'000; ++i) {
    const double angle = i % 2 ? double(random.bits() >> 40) : double(random.bits() >> 11) / (1LL << 50);
    const CosSin exact{std::cos(angle), std::sin(angle)}, own = cos_sin(angle);
    worst = std::fmax(worst, std::fmax(std::fabs(own.cos - exact.cos), std::fabs(own.sin - exact.sin)));
    hash.add(&own, sizeof own);
  }
  std::printf("cos and sin: %.1e from the library's\n", worst);
  failures += worst > 1e-15;
  expect_hash("cos and sin", hash, 0x7e533bad3e57a28e);
}

}  // namespace

int main() {
  check_fma();
  check_cos_sin();
  for (auto tables = available_kernels(); *tables; ++tables) {
    std::printf("%s\n", (*tables)->name);
    expect_hash("norms", norms(**tables), 0x307e88e4ed2ca5a8);
    expect_hash("activations", activations(**tables), 0x228f908975e23f52);
    for (const auto& [format, name, hash] : {std::tuple{Format::F32, "product, F32", uint64_t{0x21556f48b016b14a}},
                                             {Format::F16, "product, F16", uint64_t{0x8ed1d959fcb9d9f3}},
                                             {Format::BF16, "product, BF16", uint64_t{0x58b0f16290f3d51e}},
                                             {Format::Q8_0, "product, Q8_0", uint64_t{0xd19a2130db837125}},
                                             {Format::Q4_0, "product, Q4_0", uint64_t{0x6b227530d04f6500}},
                                             {Format::Q4_1, "product, Q4_1", uint64_t{0x562691163af9fe89}},
                                             {Format::Q5_0, "product, Q5_0", uint64_t{0x52921055a2d068b8}},
                                             {Format::Q5_1, "product, Q5_1", uint64_t{0x73ed59d9c75e6c81}},
                                             {Format::IQ4_NL, "product, IQ4_NL", uint64_t{0xc8a68226347dec8d}},
                                             {Format::Q2_K, "product, Q2_K", uint64_t{0xbf0ba7696e72da30}},
                                             {Format::Q3_K, "product, Q3_K", uint64_t{0xb3163c1e7568c394}},
                                             {Format::Q4_K, "product, Q4_K", uint64_t{0xd92d1122f86afea7}},
                                             {Format::Q5_K, "product, Q5_K", uint64_t{0xfedef3e445f014b2}},
                                             {Format::Q6_K, "product, Q6_K", uint64_t{0x4b9e66c222d12d9d}}})
      expect_hash(name, products(**tables, format), hash);
    expect_hash("attention, f32 cache", attention(**tables, CacheFormat::F32), 0x90eea1de9f2c7eec);
    expect_hash("attention, f16 cache", attention(**tables, CacheFormat::F16), 0xe130cfb1e12a1a82);
    expect_hash("attention, int8 cache", attention(**tables, CacheFormat::INT8), 0xe514c7eeeedc0684);
  }
  std::printf(failures ? "%d failures\n" : "all right\n", failures);
  return failures ? 1 : 0;
}
