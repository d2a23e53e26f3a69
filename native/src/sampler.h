// From logits to the next token: penalties, temperature, top-k, top-p, min-p, draw.
//
// The same pipeline as nextword.generation.sampling, which shows its stages; a test holds the two together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels.h"

namespace nextword {

/// How a token is chosen; names, meanings and ranges are those of nextword.settings.SamplingSettings.
struct SamplingSettings {
  double temperature;
  int64_t top_k;  // 0 is all
  double top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::vector<std::pair<int64_t, float>> logit_bias;
};

/// Draws the tokens of one text, and counts those that it holds.
class Sampler {
 public:
  Sampler(SamplingSettings settings, const Kernels& kernels) : settings_(std::move(settings)), kernels_(kernels) {}

  /// A token that the text began with.
  void read(int64_t id) {
    if (counts_tokens()) counts_.try_emplace(id, 0);
  }
  /// A token that was written.
  void accept(int64_t id) {
    if (counts_tokens()) ++counts_[id];
  }

  /// The next token; `random`, 0 <= random < 1, says which of those that are left. The first of the largest logits at
  /// temperature 0.
  ///
  /// The same bits decide on every machine. Throws std::out_of_range where a token that was counted or has a bias has
  /// no logit, std::domain_error where the largest logit is not finite and there is something to draw.
  int64_t draw(const float* logits, int64_t count, double random);

 private:
  struct Candidate {
    double weight;
    int64_t id;
  };
  struct Taken {
    size_t count;
    double mass;
    int64_t id;  // of the last one
  };

  bool counts_tokens() const {
    return settings_.repetition_penalty != 1 || settings_.presence_penalty != 0 || settings_.frequency_penalty != 0;
  }
  const float* penalize(const float* logits, int64_t count);
  double weigh(const float* logits, int64_t count, float largest, float divisor);
  int64_t draw_from_all(int64_t count, double target) const;
  void find_head(const float* logits, int64_t count, float largest, float divisor, float threshold);
  Taken take(size_t limit, double min_weight, double mass);
  int64_t draw_from_head(const float* logits, int64_t count, float largest, float divisor, double random);

  SamplingSettings settings_;
  const Kernels& kernels_;
  std::unordered_map<int64_t, int64_t> counts_;  // token of the text -> how often it was written, if a penalty asks
  std::vector<float> penalized_, found_logits_;
  std::vector<double> weights_;     // e to the tempered logits, of all tokens
  std::vector<double> block_sums_;  // of WEIGHT_BLOCK of them
  std::vector<double> found_weights_;
  std::vector<Candidate> found_, head_;  // tokens that may be among the most probable: by id, and by bucket
  std::vector<size_t> bucket_ends_;
};

}  // namespace nextword
