#include "sampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

namespace nextword {
namespace {

constexpr int64_t WEIGHT_BLOCK = 1024;  // tokens whose weights are summed apart, so that a draw looks into one block
constexpr int64_t SCAN_BLOCK = 32, BUCKETS = 512;
constexpr float MAX_FLOAT = std::numeric_limits<float>::max();

/// How far below the largest tempered logit tokens are looked at, first, then where those were not enough: e to these
/// is 1e-3, 1e-4 and 1e-5.
constexpr double HEAD_THRESHOLDS[] = {-6.9, -9.2, -11.5, -std::numeric_limits<double>::infinity()};

/// As float32: no larger than the largest, or -inf.
float to_float(double x) {
  return x > MAX_FLOAT ? MAX_FLOAT : x < -MAX_FLOAT ? -std::numeric_limits<float>::infinity() : float(x);
}

/// Sixteen to an octave, and one for all that weigh less than 2^-32: the heavier, the lower.
size_t bucket_of(double weight) {
  const auto bits = [](double x) {
    int64_t value;
    std::memcpy(&value, &x, sizeof value);
    return value;
  };
  return size_t(std::clamp<int64_t>((bits(1) - bits(weight)) >> 48, 0, BUCKETS - 1));
}

/// Calls `visit(i)` for each x[i] >= threshold, in order, until it returns false.
template <class Visit>
void for_each_at_least(const float* x, int64_t count, float threshold, const Visit& visit) {
  for (int64_t start = 0; start < count; start += SCAN_BLOCK) {
    const int64_t size = std::min(SCAN_BLOCK, count - start);
    int any = 0;  // first whether there is one: this loop has no branches
    for (int64_t i = 0; i < size; ++i) any |= int(x[start + i] >= threshold);
    for (int64_t i = start; any && i < start + size; ++i)
      if (x[i] >= threshold && !visit(i)) return;
  }
}

}  // namespace

int64_t Sampler::draw(const float* logits, int64_t count, double random) {
  logits = penalize(logits, count);
  const float largest = kernels_.row_max(logits, count);
  if (settings_.temperature == 0) {
    int64_t first = 0;
    if (std::isnan(largest))
      return std::find_if(logits, logits + count, [](float x) { return std::isnan(x); }) - logits;
    for_each_at_least(logits, count, largest, [&](int64_t id) { return first = id, false; });
    return first;
  }
  if (!std::isfinite(largest)) throw std::domain_error("the largest logit is " + std::to_string(largest));
  const auto divisor = float(std::clamp<double>(settings_.temperature, std::numeric_limits<float>::min(), MAX_FLOAT));
  if ((settings_.top_k && settings_.top_k < count) || settings_.top_p < 1 || settings_.min_p > 0)
    return draw_from_head(logits, count, largest, divisor, random);
  return draw_from_all(count, random * weigh(logits, count, largest, divisor));
}

const float* Sampler::penalize(const float* logits, int64_t count) {
  const SamplingSettings& s = settings_;
  if (!counts_tokens() && s.logit_bias.empty()) return logits;
  penalized_.assign(logits, logits + count);
  const auto logit_of = [&](int64_t id) -> float& {
    if (id < 0 || id >= count) throw std::out_of_range("no logit for token " + std::to_string(id));
    return penalized_[size_t(id)];
  };
  for (const auto& [id, times] : counts_) {
    float& logit = logit_of(id);
    if (s.repetition_penalty != 1)
      logit = to_float(logit > 0 ? logit / s.repetition_penalty : logit * s.repetition_penalty);
    if (times) logit -= float(s.presence_penalty + s.frequency_penalty * double(times));
  }
  for (const auto& [id, bias] : s.logit_bias) logit_of(id) += bias;
  return penalized_.data();
}

/// Fills `weights_` and `block_sums_`; the sum of all.
double Sampler::weigh(const float* logits, int64_t count, float largest, float divisor) {
  weights_.resize(size_t(count));
  block_sums_.clear();
  double total = 0;
  for (int64_t start = 0; start < count; start += WEIGHT_BLOCK) {
    const int64_t size = std::min(WEIGHT_BLOCK, count - start);
    block_sums_.push_back(kernels_.exp_weights(logits + start, size, largest, divisor, &weights_[size_t(start)]));
    total += block_sums_.back();
  }
  return total;
}

/// The first token, in the vocabulary's order, with which the weights reach beyond `target`.
int64_t Sampler::draw_from_all(int64_t count, double target) const {
  double before = 0;
  for (int64_t start = 0; start < count; start += WEIGHT_BLOCK) {
    const double after = before + block_sums_[size_t(start / WEIGHT_BLOCK)];
    double sum = before;
    for (int64_t id = start; after > target && id < std::min(count, start + WEIGHT_BLOCK); ++id) {
      sum += weights_[size_t(id)];
      if (sum > target && weights_[size_t(id)] > 0) return id;
    }
    before = after;
  }
  int64_t last = count - 1;  // sums were rounded so that none reaches beyond: the last that can be drawn
  while (weights_[size_t(last)] == 0) --last;
  return last;
}

/// Fills `head_` with the tokens whose logit is not below a threshold, in buckets of about the same weight, best first.
void Sampler::find_head(const float* logits, int64_t count, float largest, float divisor, float threshold) {
  found_.clear(), found_logits_.clear();
  for_each_at_least(logits, count, threshold, [&](int64_t id) {
    found_.push_back({0, id}), found_logits_.push_back(logits[id]);
    return true;
  });
  found_weights_.resize(found_.size());
  kernels_.exp_weights(found_logits_.data(), int64_t(found_.size()), largest, divisor, found_weights_.data());
  bucket_ends_.assign(BUCKETS + 1, 0);
  for (size_t i = 0; i < found_.size(); ++i) {
    found_[i].weight = found_weights_[i];
    ++bucket_ends_[bucket_of(found_[i].weight) + 1];
  }
  std::partial_sum(bucket_ends_.begin(), bucket_ends_.end(), bucket_ends_.begin());
  head_.resize(found_.size());
  for (const Candidate& candidate : found_) head_[bucket_ends_[bucket_of(candidate.weight)]++] = candidate;
}

/// Goes through `head_`, best first, until the weights reach `mass`, or `limit` tokens; those below `min_weight` aside.
///
/// Only the buckets in which it may end are put in order: nothing takes long where all tokens are about as probable.
Sampler::Taken Sampler::take(size_t limit, double min_weight, double mass) {
  Taken taken{};
  const size_t last_bucket = bucket_of(min_weight);
  for (size_t bucket = 0, start = 0; bucket <= last_bucket; start = bucket_ends_[bucket++]) {
    const auto first = head_.begin() + std::ptrdiff_t(start),
               end = head_.begin() + std::ptrdiff_t(bucket_ends_[bucket]);
    if (first == end) continue;
    const double sum =
        std::accumulate(first, end, 0.0, [](double total, const Candidate& c) { return total + c.weight; });
    if (bucket < last_bucket && taken.count + size_t(end - first) < limit && taken.mass + sum < mass) {
      taken.count += size_t(end - first), taken.mass += sum;
      continue;
    }
    std::sort(first, end, [](const Candidate& a, const Candidate& b) {
      return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
    });
    for (auto token = first; token < end; ++token) {
      if (taken.count == limit || token->weight < min_weight || taken.mass >= mass) return taken;
      taken = {taken.count + 1, taken.mass + token->weight, token->id};
    }
  }
  return taken;
}

/// From the most probable tokens that top-k, top-p and min-p leave, best first.
int64_t Sampler::draw_from_head(const float* logits, int64_t count, float largest, float divisor, double random) {
  constexpr double EVERYTHING = std::numeric_limits<double>::infinity(), POSSIBLE = std::numeric_limits<double>::min();
  const bool top_k = settings_.top_k && settings_.top_k < count, top_p = settings_.top_p < 1;
  const auto limit = size_t(top_k ? settings_.top_k : count);
  double total = top_p && !top_k ? weigh(logits, count, largest, divisor) : 0;
  Taken kept{};
  for (const double threshold : HEAD_THRESHOLDS) {
    find_head(logits, count, largest, divisor, to_float(largest + threshold * double(divisor)));
    if (head_.size() < limit && top_k) continue;
    if (top_p && top_k) total = take(limit, POSSIBLE, EVERYTHING).mass;
    // A token is kept while those before it have not reached top_p; the best one weighs 1.
    kept = take(limit, std::max(settings_.min_p, POSSIBLE), top_p ? settings_.top_p * total : EVERYTHING);
    if (kept.count < head_.size()) break;
  }
  return take(kept.count, POSSIBLE, std::nextafter(random * kept.mass, EVERYTHING)).id;  // beyond, not just as far
}

}  // namespace nextword
