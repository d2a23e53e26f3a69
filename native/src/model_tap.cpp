// The forward pass where a tap looks on: what is formed only to be seen, and what follows where it is changed.
#include <algorithm>
#include <cmath>

#include "model.h"

namespace nextword {

void Model::look_with(Tap* tap, bool has_logits) {
  tap_ = tap, has_logits_ = has_logits, last_wanted_ = -1;
  if (!tap) return;
  const auto look = [&](Site site) {
    if (tap->wants(site)) last_wanted_ = std::max(last_wanted_, site.index());
  };
  for (int point = 0; point < int(Point::COUNT); ++point) {
    const auto p = Point(point);
    if (p < Point::RESID_PRE) look({p, 0});
    else if (!is_in_block(p)) look({p, config_.num_layers});
    else
      for (int64_t i = 0; i < config_.num_layers; ++i) look({p, i});
  }
}

/// Whether one of the points of a block from the first to the last is wanted.
bool Model::is_wanted(Site first, Point last) const {
  if (!tap_) return false;
  for (int point = int(first.point); point <= int(last); ++point)
    // From one point of a pass to a later one: NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange)
    if (tap_->wants({Point(point), first.layer})) return true;
  return false;
}

/// Whether the tap changed the values of a chunk, which begin at `x`.
bool Model::see(Site site, int64_t chunk, float* x, int64_t stride, int64_t columns, int64_t width) {
  return tap_->see(site, chunk, {x, chunks_[size_t(chunk)].count, columns, width, stride});
}

/// Shows the values of every chunk, whose rows lie one behind the other from `x` on.
void Model::see_all(Site site, float* x, int64_t stride, int64_t columns, int64_t width) {
  if (!is_wanted(site, site.point)) return;
  for (size_t i = 0; i < chunks_.size(); ++i)
    see(site, int64_t(i), x + chunks_[i].first * stride, stride, columns, width);
}

/// Shows a norm's divisor, quotient and result; h changes only where one of them does.
void Model::see_norm(const Norm& norm, const float* x, Site scale) {
  const Site quotient{Point(int(scale.point) + 1), scale.layer}, out{Point(int(scale.point) + 2), scale.layer};
  const int64_t D = config_.d_model;
  if (is_wanted(scale, quotient.point)) {
    const std::vector<float> ones(size_t(D), 1.0f), zeros(norm.bias.size(), 0.0f);
    const int64_t rows = chunks_.back().first + chunks_.back().count;
    grow(normalized_, rows * width_), norm_scales_.resize(size_t(rows));
    for_each_token(rows, [&](int64_t t, int) {
      norm_scales_[size_t(t)] = kernels_.normalize(x + t * width_, D, ones.data(), data_or_null(zeros),
                                                   config_.norm_eps, &normalized_[size_t(t * width_)]);
    });
    const std::vector<float> before = norm_scales_;
    for (size_t i = 0; i < chunks_.size(); ++i) {
      const auto [first, count] = chunks_[i];
      bool is_changed = tap_->wants(scale) && see(scale, int64_t(i), &norm_scales_[size_t(first)], 1, 0, 1);
      for (int64_t t = first; is_changed && t < first + count; ++t)
        for (int64_t j = 0; j < D; ++j)
          normalized_[size_t(t * width_ + j)] *= before[size_t(t)] / norm_scales_[size_t(t)];
      if (tap_->wants(quotient))
        is_changed |= see(quotient, int64_t(i), &normalized_[size_t(first * width_)], width_, 0, D);
      for (int64_t t = first; is_changed && t < first + count; ++t)
        for (int64_t j = 0; j < D; ++j) {
          const float weighted = normalized_[size_t(t * width_ + j)] * norm.weight[size_t(j)];
          h_[size_t(t * width_ + j)] = norm.bias.empty() ? weighted : weighted + norm.bias[size_t(j)];
        }
    }
  }
  see_all(out, h_.data(), width_, 0, D);
}

/// Shows scores and pattern, [H, T, S] of each chunk; z changes only where one of them does.
void Model::see_attention(int64_t layer, float scale) {
  const Site scores_site{Point::ATTN_SCORES, layer}, pattern_site{Point::PATTERN, layer};
  if (!is_wanted(scores_site, Point::PATTERN)) return;
  const int64_t H = config_.num_heads, C = config_.head_dim, group = H / config_.num_kv_heads;
  const int64_t window = weights_.layers[size_t(layer)].window;
  for (size_t i = 0; i < chunks_.size(); ++i) {
    const Rows rows = chunks_[i];
    const int64_t T = rows.count, S = batch_[size_t(rows.first + T - 1)].position + 1;
    Cache& cache = *batch_[size_t(rows.first)].cache;
    std::vector<float> weights(size_t(H * T * S), -INFINITY);
    const auto for_each_row = [&](const auto& work) {
      threads_.parallel_for(H * T, [&](int64_t item, int thread) {
        work(item / T, rows.first + item % T, &weights[size_t(item * S)], thread);
      });
    };
    for_each_row([&](int64_t head, int64_t t, float* row, int) {
      const int64_t last = batch_[size_t(t)].position + 1, first = window ? std::max<int64_t>(0, last - window) : 0;
      kernels_.attention_scores(cache.head(layer, head / group), &q_[size_t(t * q_width_ + head * C)], first, last,
                                scale, row + first);
    });
    bool is_changed = tap_->wants(scores_site) && tap_->see(scores_site, int64_t(i), {weights.data(), H, T, S, T * S});
    if (!is_changed && !tap_->wants(pattern_site)) continue;
    for_each_row([&](int64_t, int64_t, float* row, int) { kernels_.attention_pattern(row, S); });
    if (tap_->wants(pattern_site)) is_changed |= tap_->see(pattern_site, int64_t(i), {weights.data(), H, T, S, T * S});
    if (!is_changed) continue;
    for_each_row([&](int64_t head, int64_t t, float* row, int thread) {
      kernels_.attention_values(cache.head(layer, head / group), row, 0, S, &z_[size_t(t * q_width_ + head * C)],
                                scratch_[size_t(thread)].data());
    });
  }
}

}  // namespace nextword
