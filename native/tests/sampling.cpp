// Holds what draws a token against plain double-precision loops and the C library, without Python, and to the same bits
// on every instruction set and machine. Ends with 1 if something differs. An argument is a seed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.h"
#include "sampler.h"

using namespace nextword;

namespace {

constexpr float INFINITE = std::numeric_limits<float>::infinity(), NO_NUMBER = std::numeric_limits<float>::quiet_NaN();

// NOLINTNEXTLINE(bugprone-random-generator-seed,bugprone-throwing-static-initialization): main seeds it
std::mt19937 random_bits;
int failures = 0;

void expect(bool holds, const std::string& what) {
  if (!holds) std::printf("FAILED: %s\n", what.c_str()), ++failures;
}

std::vector<float> random_logits(int64_t count, double size) {
  std::normal_distribution<double> normal;
  std::vector<float> logits(static_cast<size_t>(count));
  for (auto& logit : logits) logit = float(size * normal(random_bits));
  return logits;
}

uint64_t hash_of(const std::vector<double>& values, double sum) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  const auto add = [&](double value) {
    uint8_t bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    for (const uint8_t byte : bytes) hash = (hash ^ byte) * 1099511628211u;
  };
  for (const double value : values) add(value);
  add(sum);
  return hash;
}

/// Each weight to one unit in the last place, of rows of any length; and a row's bits as they are on every machine.
void check_weights(const Kernels& kernels) {
  double worst = 0;
  for (const int64_t count : {1, 2, 7, 8, 9, 16, 31, 1000}) {
    std::vector<float> logits = random_logits(count, 40);
    logits[0] = 200;
    if (count > 2) logits[1] = -INFINITE, logits[2] = -3e38f;
    std::vector<double> weights(static_cast<size_t>(count));
    const double sum = kernels.exp_weights(logits.data(), count, 200, 0.7f, weights.data());
    double expected_sum = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      const float x = (logits[i] - 200) / 0.7f;
      const double expected = x < -708 ? 0 : std::exp(double(x));
      worst = std::max(worst, expected == 0 ? weights[i] : std::abs(weights[i] - expected) / expected);
      expected_sum += weights[i];
    }
    expect(weights[0] == 1, "the best token weighs 1");
    expect(std::abs(sum - expected_sum) < 1e-12 * expected_sum, "the sum of the weights");
  }
  std::printf("  %-44s %.1e\n", "weights", worst);
  expect(worst < 3e-16, "weights");

  std::vector<float> logits(4099);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = -float(i * i % 7919) / 64;
  std::vector<double> weights(logits.size());
  const double sum = kernels.exp_weights(logits.data(), int64_t(logits.size()), 0, 1.3f, weights.data());
  const uint64_t hash = hash_of(weights, sum);
  std::printf("  %-44s %016llx\n", "the bits of 4,099 weights", static_cast<unsigned long long>(hash));
  expect(hash == 0x48e63973d1cf7541u, "the same bits on every machine");
}

void check_row_max(const Kernels& kernels) {
  for (int64_t count = 1; count < 200; ++count) {
    std::vector<float> x = random_logits(count, 5);
    expect(kernels.row_max(x.data(), count) == *std::max_element(x.begin(), x.end()), "the largest number");
    const auto place = size_t(random_bits() % uint64_t(count));
    x[place] = INFINITE;
    expect(kernels.row_max(x.data(), count) == INFINITE, "infinity is the largest");
    x[place] = NO_NUMBER;
    expect(std::isnan(kernels.row_max(x.data(), count)), "what is no number is told");
    std::fill(x.begin(), x.end(), -INFINITE);
    expect(kernels.row_max(x.data(), count) == -INFINITE, "minus infinity where there is nothing else");
  }
}

/// The token that the plain pipeline draws: all tokens sorted, cut one rule after the other, gone through in order.
int64_t drawn_plainly(const std::vector<float>& logits, const SamplingSettings& s, double random) {
  struct Token {
    double weight;
    int64_t id;
  };
  const float largest = *std::max_element(logits.begin(), logits.end());
  std::vector<Token> tokens;
  tokens.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    tokens.push_back({std::exp(double((logits[i] - largest) / float(s.temperature))), int64_t(i)});
  const bool cut = (s.top_k && s.top_k < int64_t(tokens.size())) || s.top_p < 1 || s.min_p > 0;
  if (cut)
    std::sort(tokens.begin(), tokens.end(),
              [](const Token& a, const Token& b) { return a.weight != b.weight ? a.weight > b.weight : a.id < b.id; });
  if (s.top_k) tokens.resize(std::min(tokens.size(), size_t(s.top_k)));
  double total = 0, mass = 0, sum = 0;
  for (const Token& token : tokens) total += token.weight;
  size_t kept = 0;
  for (; kept < tokens.size() && tokens[kept].weight >= s.min_p && (s.top_p == 1 || mass < s.top_p * total); ++kept)
    mass += tokens[kept].weight;
  for (size_t i = 0; i < kept; ++i) {
    sum += tokens[i].weight;
    if (sum > random * mass) return tokens[i].id;
  }
  return tokens[kept - 1].id;
}

void check_draws(const Kernels& kernels) {
  std::uniform_real_distribution<double> uniform(0, 1);
  const auto one_of = [](std::initializer_list<double> values) {
    return values.begin()[random_bits() % values.size()];
  };
  for (int trial = 0; trial < 3000; ++trial) {
    std::vector<float> logits = random_logits(int64_t(one_of({1, 2, 40, 1000, 5000})), one_of({0.1, 1, 5, 60}));
    if (trial % 3 == 0)
      for (auto& logit : logits) logit = std::round(logit);  // many equal ones
    const SamplingSettings settings{one_of({0.01, 0.7, 1, 2}),
                                    int64_t(one_of({0, 0, 1, 40, 1000})),
                                    one_of({1, 0.3, 0.95}),
                                    one_of({0, 0, 0.01, 1}),
                                    1,
                                    0,
                                    0,
                                    {}};
    Sampler sampler(settings, kernels);
    for (int i = 0; i < 3; ++i) {
      const double random = uniform(random_bits);
      expect(sampler.draw(logits.data(), int64_t(logits.size()), random) == drawn_plainly(logits, settings, random),
             "the token that the plain pipeline draws");
    }
  }
}

/// CTRL's penalty for what was read, those of OpenAI's API for what was written, and biases.
void check_penalties(const Kernels& kernels) {
  const std::vector<float> logits{2, 3, 2.5f, 2.75f};
  const auto best = [&](const SamplingSettings& settings, const std::vector<int64_t>& read,
                        const std::vector<int64_t>& written) {
    Sampler sampler(settings, kernels);
    for (const int64_t id : read) sampler.read(id);
    for (const int64_t id : written) sampler.accept(id);
    return sampler.draw(logits.data(), 4, 0);
  };
  expect(best({0, 0, 1, 0, 1, 0, 0, {}}, {1}, {1}) == 1, "no penalty");
  expect(best({0, 0, 1, 0, 1.1, 0, 0, {}}, {1}, {}) == 3, "3 / 1.1 < 2.75");
  expect(best({0, 0, 1, 0, 1.05, 0, 0, {}}, {1, 1, 1}, {1}) == 1, "3 / 1.05 > 2.75, however often it was there");
  expect(best({0, 0, 1, 0, 1, 0.3, 0, {}}, {1}, {}) == 1, "presence counts what was written");
  expect(best({0, 0, 1, 0, 1, 0.3, 0, {}}, {}, {1}) == 3, "3 - 0.3 < 2.75");
  expect(best({0, 0, 1, 0, 1, 0, 0.1, {}}, {1}, {1, 1}) == 1, "3 - 2 * 0.1 > 2.75");
  expect(best({0, 0, 1, 0, 1, 0, 0.1, {}}, {1}, {1, 1, 1}) == 3, "3 - 3 * 0.1 < 2.75");
  expect(best({0, 0, 1, 0, 1, 0, 0, {{0, 1.5f}}}, {}, {}) == 0, "2 + 1.5 > 3");
}

void check_no_numbers(const Kernels& kernels) {
  const auto refused = [&](const std::vector<float>& logits) {
    Sampler sampler({0.8, 0, 0.95, 0, 1, 0, 0, {}}, kernels);
    try {
      sampler.draw(logits.data(), int64_t(logits.size()), 0.5);
    } catch (const std::domain_error&) {
      return true;
    }
    return false;
  };
  expect(refused({1, NO_NUMBER, 2}) && refused({1, INFINITE}) && refused({-INFINITE, -INFINITE}), "no finite logit");
  expect(!refused({1, -INFINITE}), "an impossible token");
  const std::vector<float> logits{1, NO_NUMBER, 2};
  expect(Sampler({0, 0, 1, 0, 1, 0, 0, {}}, kernels).draw(logits.data(), 3, 0) == 1, "as NumPy's argmax");
  bool out_of_range = false;
  Sampler sampler({0, 0, 1, 0, 1, 0, 0, {{3, 1.0f}}}, kernels);
  try {
    sampler.draw(logits.data(), 3, 0);
  } catch (const std::out_of_range&) {
    out_of_range = true;
  }
  expect(out_of_range, "a bias for a token that has no logit");
}

}  // namespace

int main(int count, char** arguments) {
  random_bits.seed(count > 1 ? unsigned(std::strtoul(arguments[1], nullptr, 10)) : 0);
  for (auto tables = available_kernels(); *tables; ++tables) {
    std::printf("%s\n", (*tables)->name);
    check_weights(**tables);
    check_row_max(**tables);
    check_draws(**tables);
    check_penalties(**tables);
    check_no_numbers(**tables);
  }
  std::printf(failures ? "%d failures\n" : "all right\n", failures);
  return failures ? 1 : 0;
}
