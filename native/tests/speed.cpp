// How fast the kernels of quantised weights are, format by format: gigabytes of
// weights a second where one token is computed from memory, beside plain
// reading, and products of many tokens out of the caches.
//
//   speed [set] [threads]    of one of the instruction sets only; 1 thread
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels.h"
#include "named_formats.h"
#include "packing.h"
#include "thread_pool.h"

using namespace nextword;

namespace {

constexpr int ROUNDS = 15;
constexpr int64_t COLUMNS = 2048, LARGE = int64_t(96) << 20, MANY = 256, ITEM = 512;

struct alignas(64) Scratch { uint8_t bytes[PANEL_BYTES]; };
struct alignas(64) Line { uint8_t bytes[64]; };

/// The best time of several rounds: what else the machine does only adds to it.
template <class Work>
double seconds(const Work& work) {
  double best = 1e9;
  for (int round = 0; round < ROUNDS; ++round) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

/// One format's products, of weights that are all the same: how fast they are
/// does not depend on it.
struct Bench {
  const Kernels& kernels;
  ThreadPool& threads;
  Matrix matrix;
  std::vector<Line> packed;
  std::vector<std::unique_ptr<Scratch>> scratch;

  Bench(const Kernels& kernels, ThreadPool& threads, Format format)
      : kernels(kernels), threads(threads), matrix{format, ROW_GROUP, COLUMNS} {
    const auto bytes = matrix.group_bytes();
    matrix.rows = LARGE / bytes * ROW_GROUP;
    packed.resize(size_t(LARGE / 64), Line{});
    for (size_t i = 0; i < packed.size(); ++i) packed[i].bytes[i % 64] = 0x11;
    matrix.packed = packed.front().bytes;
    for (int i = 0; i < threads.count(); ++i) scratch.push_back(std::make_unique<Scratch>());
  }

  double read() const {
    const int64_t items = threads.count() * 8, count = LARGE / 4 / items / 64 * 64;
    std::vector<float> sums(size_t(items), 0.0f);
    const double time = seconds([&] {
      threads.parallel_for(items, [&](int64_t item, int) {
        sums[size_t(item)] = kernels.read_loop(reinterpret_cast<const float*>(matrix.packed) + item * count, count);
      });
    });
    return double(items * count * 4) / time / 1e9;
  }

  double products(int64_t rows, int64_t tokens, ActivationFormat format) {
    const int64_t blocks = matrix.blocks();
    std::vector<int16_t> codes(size_t(tokens * COLUMNS));
    std::vector<int8_t> bytes(codes.size());
    std::vector<float> scales(size_t(tokens * blocks)), sums(scales.size()), x(size_t(COLUMNS), 0.0f);
    std::vector<int32_t> half_sums(2 * scales.size());
    const QuantizedActivations quantized{format,        blocks,      codes.data(),    bytes.data(),
                                         scales.data(), sums.data(), half_sums.data()};
    for (size_t i = 0; i < x.size(); ++i) x[i] = float(i % 7) - 3;
    for (int64_t t = 0; t < tokens; ++t) kernels.quantize(x.data(), 0, blocks, quantized, t);
    std::vector<float> out(size_t(rows * tokens));
    return seconds([&] {
      threads.parallel_for((rows + ITEM - 1) / ITEM, [&](int64_t item, int thread) {
        kernels.matmul_quantized(matrix, item * ITEM, std::min(rows, (item + 1) * ITEM), quantized, tokens, nullptr,
                                 nullptr, out.data(), rows, scratch[size_t(thread)].get());
      });
    });
  }
};

}  // namespace

int main(int count, char** arguments) {
  const std::string set = count > 1 ? arguments[1] : "";
  ThreadPool threads(count > 2 ? int(std::strtol(arguments[2], nullptr, 10)) : 1);
  std::printf("%-11s %-7s %12s %12s %14s %14s   (%d threads)\n", "set", "format", "read GB/s", "1 token GB/s",
              "256, int16", "256, int8 GMAC/s", threads.count());
  for (auto tables = available_kernels(); *tables; ++tables) {
    if (!set.empty() && set != (*tables)->name) continue;
    for (const auto& [format, name] : QUANTIZED) {
      Bench bench(**tables, threads, format);
      const double one = bench.products(bench.matrix.rows, 1, ActivationFormat::INT16);
      const double products = double(2 * ITEM * threads.count()) * COLUMNS * MANY / 1e9;
      const int64_t rows = 2 * ITEM * threads.count();
      std::printf("%-11s %-7s %12.1f %12.1f %14.1f %14.1f\n", (*tables)->name, name, bench.read(),
                  double(bench.matrix.groups() * bench.matrix.group_bytes()) / one / 1e9,
                  products / bench.products(rows, MANY, ActivationFormat::INT16),
                  products / bench.products(rows, MANY, ActivationFormat::INT8));
      std::fflush(stdout);
    }
  }
  return 0;
}
