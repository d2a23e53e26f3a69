// Holds the native code against plain double-precision loops, without Python: for sanitizers, and for processors that
// are emulated. Prints the largest errors; ends with 1 if one is too large. An argument is a seed.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

#include "dequantize.h"
#include "kernels.h"
#include "model.h"
#include "packing.h"

using namespace nextword;

// Memory that runs out when a test says so: after `allocations_left` more, on whichever thread.
std::atomic<int64_t> allocations_left{std::numeric_limits<int64_t>::max()};

void* allocate(size_t bytes, size_t line) {
  if (allocations_left.fetch_sub(1) <= 0) throw std::bad_alloc();
  void* memory = std::aligned_alloc(line, (bytes + line) / line * line);
  if (!memory) throw std::bad_alloc();
  return memory;
}

void* operator new(size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new(size_t bytes, std::align_val_t line) { return allocate(bytes, size_t(line)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

#if defined(__aarch64__)
using Half = __fp16;
#else
using Half = _Float16;
#endif

// NOLINTNEXTLINE(bugprone-random-generator-seed,bugprone-throwing-static-initialization): main seeds it
std::mt19937 random_bits;
int failures = 0;

double normal() { return std::normal_distribution<double>()(random_bits); }
int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }

void expect(bool holds, const std::string& what) {
  if (!holds) std::printf("FAILED: %s\n", what.c_str()), ++failures;
}

void expect_small(double error, double limit, const std::string& what) {
  std::printf("  %-44s %.1e\n", what.c_str(), error);
  expect(error <= limit, what);
}

/// Numbers in padded rows, as the kernels want them.
struct Rows {
  int64_t width, stride;
  std::vector<float> values;

  Rows(int64_t rows, int64_t width, double size = 1)
      : width(width), stride(padded(width)), values(size_t(rows * stride)) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < width; ++i) row(r)[i] = float(size * normal());
  }
  float* row(int64_t r) { return values.data() + r * stride; }
};

/// A matrix in one of the formats, and the numbers that it holds.
struct Stored {
  Matrix matrix;
  std::vector<uint8_t> bytes, packed;
  std::vector<double> values;  // [row][padded column]

  Stored(Format format, int64_t rows, int64_t columns) {
    const int64_t width = padded(columns);
    bytes.resize(size_t(rows * width / BLOCK * block_layout(format).file_bytes));
    for (int64_t block = 0; block < rows * width / BLOCK; ++block) {
      uint8_t* p = bytes.data() + block * block_layout(format).file_bytes;
      const Half scale = Half(0.02 * normal()), offset = Half(0.1 * normal());
      for (int64_t i = 0; i < BLOCK; ++i) {
        const bool padding = block * BLOCK % width + i >= columns;
        const float value = padding ? 0.0f : float(normal());
        const int q = int(between(-127, 127)), low = int(between(0, 15)), high = int(between(0, 15));
        uint32_t bits;
        std::memcpy(&bits, &value, 4);
        const Half half = Half(value);
        switch (format) {
          case Format::F32: std::memcpy(p + 4 * i, &value, 4), values.push_back(value); break;
          case Format::F16: std::memcpy(p + 2 * i, &half, 2), values.push_back(double(half)); break;
          case Format::BF16: {
            std::memcpy(p + 2 * i, reinterpret_cast<uint8_t*>(&bits) + 2, 2);
            bits &= 0xffff0000u;
            float cut;
            std::memcpy(&cut, &bits, 4);
            values.push_back(cut);
            break;
          }
          case Format::Q8_0:
            std::memcpy(p, &scale, 2), p[2 + i] = uint8_t(int8_t(q)), values.push_back(double(scale) * q);
            break;
          case Format::Q4_0:
          case Format::Q4_1: {
            const int start = format == Format::Q4_0 ? 2 : 4;
            std::memcpy(p, &scale, 2);
            if (format == Format::Q4_1) std::memcpy(p + 2, &offset, 2);
            if (i < 16) p[start + i] = uint8_t(low | high << 4);
            const int number = i < 16 ? p[start + i] & 15 : p[start + i - 16] >> 4;
            values.push_back(format == Format::Q4_0 ? double(scale) * (number - 8)
                                                    : double(float(scale) * float(number) + float(offset)));
            break;
          }
          default: break;
        }
      }
    }
    matrix = {format, rows, columns, bytes.data(), nullptr};
    for (int64_t r = 0; r < rows; ++r)  // rows of floats have no padding in a file
      std::memmove(bytes.data() + r * matrix.row_bytes(),
                   bytes.data() + r * width / BLOCK * block_layout(format).file_bytes, size_t(matrix.row_bytes()));
    packed.resize(size_t(matrix.groups() * matrix.group_bytes()));
    pack_groups(matrix, 0, matrix.groups(), packed.data());
    matrix.packed = packed.data();
  }
};

void check_matmul(const Kernels& kernels) {
  double worst = 0;
  for (const Format format : {Format::F32, Format::F16, Format::BF16, Format::Q8_0, Format::Q4_0, Format::Q4_1})
    for (int round = 0; round < 12; ++round) {
      // Columns that are no whole blocks exist for floats only, and then rows are padded.
      const int64_t rows = between(1, 70), columns = int(format) < 3 ? between(1, 400) : BLOCK * between(1, 12),
                    tokens = round ? between(1, 30) : 300;
      const Stored stored(format, rows, columns);
      Rows x(tokens, columns), bias(1, rows), addend(tokens, rows), out(tokens, rows, 0), again(tokens, rows, 0);
      std::vector<float> scratch(size_t(PANEL_BYTES / 4));
      const int64_t first = between(0, (rows - 1) / ROW_GROUP) * ROW_GROUP;
      kernels.matmul(stored.matrix, first, rows, x.values.data(), x.stride, tokens, bias.row(0), addend.values.data(),
                     out.values.data(), out.stride, scratch.data());
      for (int64_t t = 0; t < tokens; ++t) {
        kernels.matmul(stored.matrix, first, rows, x.row(t), x.stride, 1, bias.row(0), addend.row(t), again.row(t),
                       again.stride, scratch.data());
        for (int64_t r = first; r < rows; ++r) {
          double expected = double(bias.row(0)[r]) + addend.row(t)[r], size = 1;
          for (int64_t i = 0; i < columns; ++i) {
            const double term = stored.values[size_t(r * padded(columns) + i)] * x.row(t)[i];
            expected += term, size += std::fabs(term);
          }
          worst = std::max(worst, std::fabs(out.row(t)[r] - expected) / size);
        }
      }
      expect(out.values == again.values, "a token alone gives the same bits");
      std::vector<float> dequantized(size_t(padded(columns)));
      dequantize_row(stored.matrix, rows - 1, dequantized.data());
      for (int64_t i = 0; i < columns; ++i)
        expect(dequantized[size_t(i)] == float(stored.values[size_t((rows - 1) * padded(columns) + i)]),
               "dequantize_row");
    }
  expect_small(worst, 1e-6, "matmul, of the sum of sizes");
}

void check_norms(const Kernels& kernels) {
  double worst = 0;
  for (int round = 0; round < 60; ++round) {
    const int64_t width = between(1, 300);
    Rows x(1, width, 3), weight(1, width), bias(1, width), out(1, width, 0);
    const bool layer_norm = round % 2;
    kernels.normalize(x.row(0), width, weight.row(0), layer_norm ? bias.row(0) : nullptr, 1e-5f, out.row(0));
    double mean = 0, square = 0;
    for (int64_t i = 0; i < width && layer_norm; ++i) mean += x.row(0)[i] / double(width);
    for (int64_t i = 0; i < width; ++i) square += std::pow(x.row(0)[i] - mean, 2) / double(width);
    for (int64_t i = 0; i < width; ++i) {
      const double expected =
          (x.row(0)[i] - mean) / std::sqrt(square + 1e-5) * weight.row(0)[i] + (layer_norm ? bias.row(0)[i] : 0);
      worst = std::max(worst, std::fabs(out.row(0)[i] - expected));
    }
  }
  expect_small(worst, 2e-5, "norms");
}

void check_activations(const Kernels& kernels) {
  const std::pair<Activation, std::function<double(double, double)>> expected[] = {
      {Activation::GELU, [](double x, double) { return x / 2 * (1 + std::erf(x / std::sqrt(2))); }},
      {Activation::GELU_TANH,
       [](double x, double) { return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
      {Activation::RELU_SQUARED, [](double x, double) { return x > 0 ? x * x : 0; }},
      {Activation::SWIGLU, [](double x, double up) { return x / (1 + std::exp(-x)) * up; }}};
  for (const auto& [kind, function] : expected) {
    double worst = 0;
    Rows x(1, 4096, 1), up(1, 4096);
    for (int64_t i = 0; i < 4096; ++i) x.row(0)[i] = float((i - 2048) * 0.01);
    x.row(0)[0] = -200, x.row(0)[1] = 200, x.row(0)[2] = -90, x.row(0)[3] = 90;
    Rows before = x;
    kernels.activate(kind, x.row(0), up.row(0), 4096);
    for (int64_t i = 0; i < 4096; ++i) {
      const double value = function(before.row(0)[i], up.row(0)[i]);
      worst = std::max(worst, std::fabs(x.row(0)[i] - value) / (1 + std::fabs(value)));
    }
    expect_small(worst, 1e-6, "activation " + std::to_string(int(kind)));
  }
}

/// Every half-precision number, and numbers between two of them, is rounded as the compiler rounds.
void check_fp16(const Kernels& kernels) {
  Config config{};
  config.head_dim = config.num_kv_heads = config.num_layers = 1;
  const Cache memory(config, 1, CacheFormat::F16, 0);
  const HeadCache cache = memory.head(0, 0);
  const auto *key = reinterpret_cast<const uint16_t*>(cache.keys(0)),
             *value = reinterpret_cast<const uint16_t*>(cache.values(0));
  int64_t wrong = 0;
  for (uint32_t i = 0; i < 1u << 20; ++i) {
    const uint32_t bits = i < (1u << 19) ? i << 13 : uint32_t(random_bits());
    float x;
    std::memcpy(&x, &bits, 4);
    if (std::isnan(x)) continue;
    const Half half = Half(x);
    uint16_t expected;
    std::memcpy(&expected, &half, 2);
    kernels.store_kv(cache, 0, &x, &x);
    wrong += *value != expected || *key != expected;
  }
  expect_small(double(wrong), 0, "half-precision numbers rounded in another way");
}

void check_attention(const Kernels& kernels) {
  for (const auto& [format, limit] :
       {std::pair{CacheFormat::F32, 1e-5}, {CacheFormat::F16, 3e-3}, {CacheFormat::INT8, 3e-2}}) {
    double worst = 0;
    for (int round = 0; round < 40; ++round) {
      const int64_t C = between(1, 150), count = between(1, 9), tokens = between(1, round % 4 ? 200 : 1200);
      Config config{};
      config.head_dim = C, config.num_kv_heads = 1, config.num_layers = 1;
      const Cache memory(config, tokens, format, 0);
      const HeadCache cache = memory.head(0, 0);
      Rows keys(tokens, C), values(tokens, C), q(count, C), out(count, C, 0), alone(count, C, 0);
      for (int64_t j = 0; j < tokens; ++j) kernels.store_kv(cache, j, keys.row(j), values.row(j));
      std::vector<float> scores(size_t(ATTEND_QUERIES * padded(C)));
      const float scale = float(1 / std::sqrt(double(C)));
      std::vector<Query> queries;
      for (int64_t n = 0; n < count; ++n) {
        const int64_t last = between(1, tokens);
        queries.push_back({q.row(n), out.row(n), between(0, last - 1), last});
      }
      kernels.attend(cache, queries.data(), count, scale, scores.data());
      for (int64_t n = 0; n < count; ++n) {
        Query query = queries[size_t(n)];
        query.out = alone.row(n);
        kernels.attend(cache, &query, 1, scale, scores.data());
        expect(std::memcmp(alone.row(n), out.row(n), size_t(C) * sizeof(float)) == 0,
               "the same bits whichever queries are beside");
        std::vector<double> weights(static_cast<size_t>(tokens)), expected(static_cast<size_t>(C));
        double total = 0;
        for (int64_t j = query.first; j < query.last; ++j) {
          double score = 0;
          for (int64_t c = 0; c < C; ++c) score += double(q.row(n)[c]) * keys.row(j)[c];
          total += weights[size_t(j)] = std::exp(score * scale);
        }
        for (int64_t j = query.first; j < query.last; ++j)
          for (int64_t c = 0; c < C; ++c) expected[size_t(c)] += weights[size_t(j)] / total * values.row(j)[c];
        for (int64_t c = 0; c < C; ++c) worst = std::max(worst, std::fabs(out.row(n)[c] - expected[size_t(c)]));
      }
    }
    expect_small(worst, limit, "attention, cache format " + std::to_string(int(format)));
  }
}

/// Calls `work` with memory for 0, 1, 2, ... allocations until it has enough; how often it had not.
int64_t times_out_of_memory(const std::function<void()>& work) {
  for (int64_t count = 0;; ++count) {
    allocations_left = count;
    bool enough = true;
    try {
      work();
    } catch (const std::bad_alloc&) {
      enough = false;
    }
    allocations_left = std::numeric_limits<int64_t>::max();
    if (enough) return count;
  }
}

/// A tap that wants everything, and may write what it has seen.
class Everything : public Tap {
 public:
  explicit Everything(bool writes) : writes_(writes) {}
  bool wants(Site) const override { return true; }
  bool see(Site, int64_t, const Values& values) override {
    const int64_t row = std::max<int64_t>(1, values.columns) * values.width;
    for (int64_t i = 0; i < values.rows; ++i, seen += row) {
      std::vector<float> copy(values.data + i * values.stride, values.data + i * values.stride + row);
      if (writes_) std::copy(copy.begin(), copy.end(), values.data + i * values.stride);
    }
    return writes_;
  }
  int64_t seen = 0;

 private:
  bool writes_;
};

/// A small model: the same bits from any number of threads, in any chunks, from several callers at once, and after any
/// allocation that failed.
void check_model(const Kernels& kernels) {
  const Config config{50, 40, 4, 2, 10, 2, 70, 200, 1e-5f, Activation::SWIGLU, false, false};
  std::vector<Stored> matrices;
  matrices.reserve(100);
  const auto linear = [&](int64_t rows, int64_t columns) {
    matrices.emplace_back(Format::F32, rows, columns);
    return Linear{matrices.back().matrix, {}};
  };
  const auto norm = [](int64_t width) { return Norm{std::vector<float>(size_t(width), 0.3f), {}}; };
  Weights weights;
  weights.embedding = linear(50, 40).weights;
  for (int i = 0; i < 2; ++i) {
    Layer layer;
    layer.ln1 = norm(40), layer.ln2 = norm(40), layer.q_norm = norm(10), layer.k_norm = norm(10);
    layer.q = linear(40, 40), layer.k = linear(20, 40), layer.v = linear(20, 40), layer.out = linear(40, 40);
    layer.gate = linear(70, 40), layer.up = linear(70, 40), layer.down = linear(40, 70);
    layer.use_rope = true, layer.window = i ? 30 : 0;
    weights.layers.push_back(layer);
  }
  weights.final_norm = norm(40), weights.output = linear(50, 40);
  for (int i = 0; i < 5; ++i) weights.rope_frequencies.push_back(std::pow(1e4, -i / 5.0));

  std::vector<int32_t> ids(150);
  for (auto& id : ids) id = int32_t(between(0, 49));
  const auto logits_of = [&](Model& model, int64_t step) {
    const auto cache = model.new_cache(150, CacheFormat::F32);
    std::vector<float> logits(ids.size() * 50);
    for (int64_t start = 0; start < 150; start += step)
      model.forward({{ids.data() + start, std::min(step, 150 - start), cache.get()}}, LogitRows::ALL,
                    logits.data() + start * 50);
    return logits;
  };
  const auto activations = ActivationFormat::INT16;
  Model one(config, weights, kernels, 1, activations), four(config, weights, kernels, 4, activations);
  const auto expected = logits_of(one, 150);
  for (const int64_t step : {1, 7, 64, 150}) {
    expect(logits_of(one, step) == expected, "one thread, chunks of " + std::to_string(step));
    expect(logits_of(four, step) == expected, "four threads, chunks of " + std::to_string(step));
  }
  for (const bool writes : {false, true})
    for (const int64_t step : {1, 64, 150}) {
      const auto cache = four.new_cache(150, CacheFormat::F32);
      std::vector<float> logits(ids.size() * 50);
      Everything tap(writes);
      for (int64_t start = 0; start < 150; start += step)
        four.forward({{ids.data() + start, std::min(step, 150 - start), cache.get()}}, LogitRows::ALL,
                     logits.data() + start * 50, &tap);
      const std::string what = "a tap, chunks of " + std::to_string(step);
      double error = 0;
      for (size_t i = 0; i < logits.size(); ++i) error = std::max(error, double(std::fabs(logits[i] - expected[i])));
      if (writes) expect_small(error, 1e-4, what);  // attention step by step rounds otherwise
      else expect(logits == expected, what);
      expect(tap.seen > 150 * (2 * (8 * 40 + 3 * 70) + 50), what + " sees much");
    }
  std::vector<std::thread> callers;
  callers.reserve(4);
  std::vector<int> same(4);
  for (size_t i = 0; i < 4; ++i) callers.emplace_back([&, i] { same[i] = logits_of(four, 40) == expected; });
  for (auto& caller : callers) caller.join();
  expect(std::count(same.begin(), same.end(), 1) == 4, "four callers at once");

  const auto expect_throw = [&](const std::vector<Chunk>& chunks, const char* what) {
    std::vector<float> logits(size_t(50 * 400));
    bool thrown = false;
    try {
      four.forward(chunks, LogitRows::ALL, logits.data());
    } catch (const std::invalid_argument&) {
      thrown = true;
    }
    expect(thrown, what);
  };
  const auto foreign = one.new_cache(150, CacheFormat::F32), own = four.new_cache(20, CacheFormat::F32);
  const int32_t wrong = 50;
  expect_throw({{ids.data(), 3, own.get()}, {ids.data(), 3, foreign.get()}}, "a cache of another model");
  expect_throw({{ids.data(), 21, own.get()}}, "more tokens than the cache holds");
  expect_throw({{ids.data(), 3, own.get()}, {ids.data(), 3, own.get()}}, "a cache given twice");
  expect_throw({{&wrong, 1, own.get()}}, "an id outside the vocabulary");
  expect(own->length() == 0 && foreign->length() == 0, "no cache has grown");

  Model fresh(config, weights, kernels, 4, activations);  // whose buffers are still to grow
  const auto cache = fresh.new_cache(150, CacheFormat::INT8);
  std::vector<float> logits(ids.size() * 50);
  const auto failed = times_out_of_memory([&] {
    expect(cache->length() == 0, "no cache has grown where memory ran out");
    fresh.forward({{ids.data(), 150, cache.get()}}, LogitRows::ALL, logits.data());
  });
  expect(failed > 20, "memory ran out " + std::to_string(failed) + " times");
  expect(logits_of(fresh, 40) == expected, "the same bits after memory ran out");
  times_out_of_memory([&] { expect(cache->fork()->length() == 150, "a fork"); });
  times_out_of_memory([&] { Model(config, weights, kernels, 4, activations); });
}

/// A thread that stays with what it took first holds up nothing else, whoever else has to do it.
void check_shares() {
  ThreadPool threads(4);
  for (const int64_t items : {2, 3, 5, 64, 1000}) {
    std::atomic<int64_t> done{0};
    std::vector<std::atomic<int>> times(static_cast<size_t>(items));
    threads.parallel_for_ranges(items, [&](int64_t first, int64_t last, int) {
      for (int64_t i = first; i < last; ++i) ++times[size_t(i)];
      done += last - first;
      const auto start = std::chrono::steady_clock::now();
      while (first == 0 && done < items && std::chrono::steady_clock::now() - start < std::chrono::seconds(20))
        std::this_thread::yield();
      expect(first > 0 || done == items, "all others are done while one is held up");
    });
    expect(std::count(times.begin(), times.end(), 1) == items, "every item of the ranges once");
  }
  bool thrown = false;
  try {
    threads.parallel_for_ranges(ThreadPool::MAX_ITEMS + 1, [](int64_t, int64_t, int) {});
  } catch (const std::invalid_argument&) {
    thrown = true;
  }
  expect(thrown, "more items than a job can have");
  std::atomic<int64_t> sum{0};
  threads.parallel_for_ranges(ThreadPool::MAX_ITEMS, [&](int64_t first, int64_t last, int) { sum += last - first; });
  expect(sum == ThreadPool::MAX_ITEMS, "as many items as a job can have");
}

/// Every item of every job is done exactly once, also where the threads have fallen asleep in between.
void check_threads() {
  ThreadPool threads(4);
  for (int job = 0; job < 3000; ++job) {
    const int64_t items = between(0, 40);
    std::vector<int> done(size_t(items + 1));
    threads.parallel_for(items, [&](int64_t item, int) { ++done[size_t(item)]; });
    expect(std::count(done.begin(), done.end(), 1) == items, "every item once");
    if (job % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (items == 0) continue;
    const int64_t wrong = between(0, items - 1);
    try {
      threads.parallel_for(items, [&](int64_t item, int) {
        if (item == wrong) throw std::runtime_error("item " + std::to_string(item));
      });
      expect(false, "what an item throws, the caller gets");
    } catch (const std::runtime_error& error) {
      expect(error.what() == "item " + std::to_string(wrong), "what the item has thrown");
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  random_bits.seed(count > 1 ? unsigned(std::strtoul(arguments[1], nullptr, 10)) : 0);
  check_shares();
  check_threads();
  for (auto tables = available_kernels(); *tables; ++tables) {
    std::printf("%s\n", (*tables)->name);
    check_matmul(**tables);
    check_norms(**tables);
    check_activations(**tables);
    check_fp16(**tables);
    check_attention(**tables);
    check_model(**tables);
  }
  std::printf(failures ? "%d failures\n" : "all right\n", failures);
  return failures ? 1 : 0;
}
