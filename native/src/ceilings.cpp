#include "ceilings.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "thread_pool.h"

namespace nextword {
namespace {

constexpr int ROUNDS = 7;

template <class Work>
double best_seconds(const Work& work) {
  double best = 1e9;
  for (int i = 0; i < ROUNDS; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

}  // namespace

double read_speed(const Kernels& kernels, int count, int64_t bytes) {
  ThreadPool threads(count);
  constexpr int64_t PART = 64 * 1024;  // numbers of one item: 256 KiB, as the rows of a product are dealt out
  const int64_t parts = std::max<int64_t>(1, bytes / (PART * 4));
  std::vector<float> memory(size_t(parts * PART), 1.0f), results(size_t(parts), 0.0f);
  const double seconds = best_seconds([&] {
    threads.parallel_for(parts, [&](int64_t part, int) {
      results[size_t(part)] = kernels.read_loop(memory.data() + part * PART, PART);
    });
  });
  return double(parts * PART * 4) / seconds;
}

double multiply_speed(const Kernels& kernels, int count) {
  ThreadPool threads(count);
  constexpr int64_t LOOPS = 2'000'000;
  std::vector<float> results(size_t(4 * count), 0.0f);
  const double seconds = best_seconds([&] {
    threads.parallel_for(4 * count, [&](int64_t part, int) { results[size_t(part)] = kernels.fma_loop(LOOPS); });
  });
  return double(4 * count) * double(LOOPS * kernels.flops_per_round) / seconds;
}

}  // namespace nextword
