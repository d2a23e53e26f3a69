#include "model.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include "dequantize.h"
#include "packing.h"
#include "sine.h"

namespace nextword {
namespace {

void add_row(int64_t width, float* x, const float* addend) {
  for (int64_t i = 0; i < width; ++i) x[i] += addend[i];
}

int64_t blocks_of(int64_t rows) { return (rows + BLOCK - 1) / BLOCK; }

/// Ids for models, from 1 on; none is used twice, as the address of a model that is gone would be.
uint64_t next_model_id() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace

// -- forward pass ----------------------------------------------------------------------------------------------------

void QuantizedBuffer::resize(ActivationFormat format, int64_t tokens, int64_t columns) {
  const int64_t blocks = padded(columns) / BLOCK, count = tokens * blocks;
  grow(codes_, count * BLOCK), grow(bytes_, format == ActivationFormat::INT8 ? count * BLOCK : 0);
  grow(scales_, count), grow(sums_, count), grow(half_sums_, 2 * count);
  view_ = {format, blocks, codes_.data(), bytes_.data(), scales_.data(), sums_.data(), half_sums_.data()};
}

Model::Model(Config config, Weights weights, const Kernels& kernels, int threads, ActivationFormat activations,
             bool packs)
    : id_(next_model_id()), config_(config), weights_(std::move(weights)), kernels_(kernels), activations_(activations),
      threads_(threads), scratch_(size_t(threads_.count())) {
  width_ = row_stride(config_.d_model);
  q_width_ = row_stride(config_.num_heads * config_.head_dim);
  kv_width_ = row_stride(config_.num_kv_heads * config_.head_dim);
  ff_width_ = row_stride(config_.d_ff);
  const int64_t longest = std::max({width_, q_width_, ff_width_, ATTEND_QUERIES * padded(config_.head_dim)});
  for (auto& memory : scratch_) memory.resize(size_t(std::max<int64_t>(PANEL_BYTES / 4, longest)));
  pack(packs);
}

/// Copies every matrix that is multiplied, packed, into one piece of memory, if there is as much.
void Model::pack(bool has_memory) {
  struct Part {
    Matrix* matrix;
    int64_t first, last;  // row groups
    size_t offset;
  };
  constexpr int64_t PART_BYTES = 1 << 20;  // about so much at a time: shared evenly, a huge page or less each
  std::vector<Part> parts;
  std::vector<std::pair<Matrix*, size_t>> matrices;
  size_t bytes = 0;
  int64_t largest_group = 0;
  const auto add = [&](Linear& linear) {
    Matrix& matrix = linear.weights;
    if (matrix.rows == 0) return;
    const int64_t group_bytes = matrix.group_bytes(), step = std::max<int64_t>(1, PART_BYTES / group_bytes);
    for (int64_t first = 0; first < matrix.groups(); first += step)
      parts.push_back({&matrix, first, std::min(matrix.groups(), first + step), bytes + size_t(first * group_bytes)});
    matrices.emplace_back(&matrix, bytes);
    bytes += size_t(matrix.groups() * group_bytes + 63) / 64 * 64;
    largest_group = std::max(largest_group, group_bytes);
  };
  for (Layer& layer : weights_.layers)
    for (Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.out, &layer.gate, &layer.up, &layer.down}) add(*linear);
  add(weights_.output);
  try {
    if (has_memory) packed_.allocate(bytes);
  } catch (const std::bad_alloc&) {
    has_memory = false;
  }
  if (!has_memory) {
    row_groups_.resize(size_t(threads()));
    for (auto& memory : row_groups_) memory.resize(size_t(largest_group));
    return;
  }
  threads_.parallel_for(int64_t(parts.size()), [&](int64_t item, int) {
    const Part& part = parts[size_t(item)];
    pack_groups(*part.matrix, part.first, part.last, packed_.data() + part.offset);
  });
  for (const auto& [matrix, offset] : matrices) matrix->packed = packed_.data() + offset;
}

std::unique_ptr<Cache> Model::new_cache(int64_t capacity, CacheFormat format) const {
  return std::make_unique<Cache>(config_, capacity, format, id_);
}

/// Under the lock: two callers who each found room for their tokens might not both have it.
void Model::check(const std::vector<Chunk>& chunks) const {
  std::vector<const Cache*> caches;
  for (const Chunk& chunk : chunks) {
    if (chunk.cache->model() != id_) throw std::invalid_argument("a cache is of another model");
    const int64_t room = std::min(chunk.cache->capacity(), config_.context_length) - chunk.cache->length();
    if (chunk.count < 1 || chunk.count > room)
      throw std::invalid_argument(std::to_string(chunk.count) + " tokens for a cache with room for " +
                                  std::to_string(room));
    for (int64_t i = 0; i < chunk.count && !chunk.residual; ++i)
      if (chunk.ids[i] < 0 || chunk.ids[i] >= config_.vocab_size)
        throw std::invalid_argument("no token has the id " + std::to_string(chunk.ids[i]));
    caches.push_back(chunk.cache);
  }
  std::sort(caches.begin(), caches.end());
  if (std::adjacent_find(caches.begin(), caches.end()) != caches.end())
    throw std::invalid_argument("a cache is given twice");
}

void Model::forward(const std::vector<Chunk>& chunks, LogitRows rows, float* logits, Tap* tap, int64_t first_layer) {
  if (chunks.empty()) return;
  std::lock_guard<std::mutex> lock(mutex_);
  check(chunks);
  look_with(tap, rows != LogitRows::NONE);
  begin(chunks);
  const bool is_whole = !chunks.front().residual;
  if (is_whole) embed(chunks);
  else
    for (size_t i = 0; i < chunks.size(); ++i)
      for (int64_t t = 0; t < chunks[i].count; ++t)
        std::copy_n(chunks[i].residual + t * config_.d_model, config_.d_model,
                    &x_[size_t((chunks_[i].first + t) * width_)]);
  for (int64_t i = first_layer; i < config_.num_layers && is_wanted_from({Point::RESID_PRE, i}); ++i) {
    attention(i);
    feed_forward(i);
  }
  if (!is_wanted_from({Point::LN_FINAL_SCALE, config_.num_layers})) return;
  if (rows == LogitRows::LAST) {  // one behind the other
    for (size_t i = 0; i < chunks_.size(); ++i) {
      const int64_t last = chunks_[i].first + chunks_[i].count - 1;
      if (last != int64_t(i)) std::copy_n(&x_[size_t(last * width_)], width_, &x_[i * size_t(width_)]);
      chunks_[i] = {int64_t(i), 1};
    }
  }
  final_norm_and_head(chunks_.back().first + chunks_.back().count, logits);
  if (has_logits_ && is_whole)
    for (const Chunk& chunk : chunks) chunk.cache->advance(chunk.count);  // now that nothing can fail
}

void Model::unembed(const float* residual, int64_t rows, float* logits, Tap* tap) {
  if (rows == 0) return;
  std::lock_guard<std::mutex> lock(mutex_);
  look_with(tap, true);
  chunks_ = {{0, rows}};
  grow(x_, rows * width_), grow(h_, rows * width_);
  for (int64_t t = 0; t < rows; ++t)
    std::copy_n(residual + t * config_.d_model, config_.d_model, &x_[size_t(t * width_)]);
  final_norm_and_head(rows, logits);
}

void Model::final_norm_and_head(int64_t rows, float* logits) {
  const int64_t behind = config_.num_layers;
  normalize(weights_.final_norm, x_.data(), rows, {Point::LN_FINAL_SCALE, behind}, {&weights_.output});
  std::vector<float> shown;  // to the tap alone
  if (!has_logits_) {
    if (!is_wanted({Point::LOGITS, behind}, Point::LOGITS)) return;
    shown.resize(size_t(rows * config_.vocab_size));
    logits = shown.data();
  }
  matmul({{&weights_.output, logits, config_.vocab_size}}, {h_.data(), width_, quantized_}, rows, nullptr);
  see_all({Point::LOGITS, behind}, logits, config_.vocab_size, 0, config_.vocab_size);
}

const Linear* Model::linear(const std::string& name) const {
  if (name == "output_layer") return &weights_.output;
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    if (name.compare(0, block.size(), block) != 0) continue;
    const Layer& layer = weights_.layers[size_t(i)];
    const std::pair<const char*, const Linear*> linears[] = {
        {"attn.q_proj", &layer.q}, {"attn.k_proj", &layer.k}, {"attn.v_proj", &layer.v}, {"attn.out_proj", &layer.out},
        {"ffn.gate", &layer.gate}, {"ffn.up", &layer.up},     {"ffn.down", &layer.down}};
    for (const auto& [kind, one] : linears)
      if (name.compare(block.size(), std::string::npos, kind) == 0 && one->weights.rows) return one;
  }
  return nullptr;
}

void Model::apply(const Linear& linear, const float* x, int64_t rows, float* out) {
  std::lock_guard<std::mutex> lock(mutex_);
  const Linear without_bias{linear.weights, {}};
  const int64_t columns = linear.weights.columns, stride = row_stride(columns);
  Floats inputs;
  grow(inputs, rows * stride);
  for (int64_t t = 0; t < rows; ++t) std::copy_n(x + t * columns, columns, &inputs[size_t(t * stride)]);
  if (takes_quantized(linear)) {
    quantized_.resize(activations_, rows, columns);
    quantize_rows(inputs.data(), stride, rows, quantized_);
  }
  matmul({{&without_bias, out, linear.weights.rows}}, {inputs.data(), stride, quantized_}, rows, nullptr);
}

/// Neighbouring tokens of one item of a parallel_for: what they read and write lies together.
int64_t Model::tokens_per_item(int64_t tokens) const { return std::clamp<int64_t>(tokens / (4 * threads()), 1, 16); }

/// Makes room for the activations of the chunks' tokens.
void Model::begin(const std::vector<Chunk>& chunks) {
  batch_.clear(), chunks_.clear();
  int64_t max_length = 0;
  for (const Chunk& chunk : chunks) {
    chunks_.push_back({int64_t(batch_.size()), chunk.count});
    for (int64_t i = 0; i < chunk.count; ++i) batch_.push_back({chunk.cache, chunk.cache->length() + i});
    max_length = std::max(max_length, chunk.cache->length() + chunk.count);
  }
  const auto tokens = int64_t(batch_.size());
  is_decode_ = batch_.size() == chunks.size();
  extend_rope_tables(max_length);
  grow(x_, tokens * width_), grow(h_, tokens * width_);
  grow(q_, tokens * q_width_), grow(z_, tokens * q_width_);
  grow(k_, tokens * kv_width_), grow(v_, tokens * kv_width_);
  grow(gate_, tokens * ff_width_), grow(up_, tokens * ff_width_);
}

void Model::embed(const std::vector<Chunk>& chunks) {
  const auto tokens = int64_t(batch_.size());
  std::vector<int32_t> ids;
  for (const Chunk& chunk : chunks) ids.insert(ids.end(), chunk.ids, chunk.ids + chunk.count);
  const bool is_seen = is_wanted({Point::EMBED, 0}, Point::POS_EMBED);
  for_each_token(tokens, [&](int64_t t, int) {
    float *x = &x_[size_t(t * width_)], *position = &h_[size_t(t * width_)];
    dequantize_row(weights_.embedding, ids[size_t(t)], x);
    if (!weights_.positions.data) return;
    dequantize_row(weights_.positions, batch_[size_t(t)].position, position);
    if (!is_seen) add_row(config_.d_model, x, position);
  });
  if (!is_seen) return;
  see_all({Point::EMBED, 0}, x_.data(), width_, 0, config_.d_model);
  if (!weights_.positions.data) return;
  see_all({Point::POS_EMBED, 0}, h_.data(), width_, 0, config_.d_model);
  for_each_token(tokens,
                 [&](int64_t t, int) { add_row(config_.d_model, &x_[size_t(t * width_)], &h_[size_t(t * width_)]); });
}

void Model::attention(int64_t index) {
  const Layer& layer = weights_.layers[size_t(index)];
  const auto tokens = int64_t(batch_.size());
  const int64_t C = config_.head_dim, K = config_.num_kv_heads, group = config_.num_heads / K;
  see_all({Point::RESID_PRE, index}, x_.data(), width_, 0, config_.d_model);
  if (!is_wanted_from({Point::LN1_SCALE, index})) return;
  normalize(layer.ln1, x_.data(), tokens, {Point::LN1_SCALE, index}, {&layer.q, &layer.k, &layer.v});
  matmul({{&layer.q, q_.data(), q_width_}, {&layer.k, k_.data(), kv_width_}, {&layer.v, v_.data(), kv_width_}},
         {h_.data(), width_, quantized_}, tokens, nullptr);

  see_all({Point::Q, index}, q_.data(), q_width_, config_.num_heads, C);
  see_all({Point::K, index}, k_.data(), kv_width_, K, C);
  see_all({Point::V, index}, v_.data(), kv_width_, K, C);

  // Of one token, for one head of keys and values and the query heads that share it.
  const auto norm_and_rope = [&](int64_t t, int64_t kv_head) {
    const auto norm_and_rope_head = [&](float* head, const Norm& norm) {
      if (!norm.weight.empty()) kernels_.normalize(head, C, norm.weight.data(), nullptr, config_.norm_eps, head);
      if (layer.use_rope) apply_rope(head, batch_[size_t(t)].position);
    };
    for (int64_t i = kv_head * group; i < (kv_head + 1) * group; ++i)
      norm_and_rope_head(&q_[size_t(t * q_width_ + i * C)], layer.q_norm);
    norm_and_rope_head(&k_[size_t(t * kv_width_ + kv_head * C)], layer.k_norm);
  };
  const auto store_kv = [&](int64_t t, int64_t kv_head) {
    const auto offset = size_t(t * kv_width_ + kv_head * C);
    kernels_.store_kv(batch_[size_t(t)].cache->head(index, kv_head), batch_[size_t(t)].position, &k_[offset],
                      &v_[offset]);
  };
  const auto for_each_head = [&](const auto& work) {
    for_each_token(tokens, [&](int64_t t, int) {
      for (int64_t head = 0; head < K; ++head) work(t, head);
    });
  };
  const bool is_seen = is_wanted({Point::ROT_Q, index}, Point::Z);
  if (is_seen) {
    for_each_head(norm_and_rope);
    see_all({Point::ROT_Q, index}, q_.data(), q_width_, config_.num_heads, C);
    see_all({Point::ROT_K, index}, k_.data(), kv_width_, K, C);
    for_each_head(store_kv);
  } else if (!is_decode_) {
    for_each_head([&](int64_t t, int64_t head) { norm_and_rope(t, head), store_kv(t, head); });
  }

  const float scale = 1.0f / std::sqrt(float(C));
  // The attention of a head is quantised where it is computed if it fills whole blocks, else when all of it is there.
  const bool quantizes = takes_quantized(layer.out), quantizes_heads = group * C % BLOCK == 0 && !is_seen;
  if (quantizes) quantized_.resize(activations_, tokens, layer.out.weights.columns);
  const int64_t step = tokens_per_item(tokens);
  threads_.parallel_for((tokens + step - 1) / step * K, [&](int64_t item, int thread) {
    const int64_t head = item % K, first_token = item / K * step, end = std::min(tokens, first_token + step);
    std::vector<Query> queries;
    for (int64_t t = first_token; t < end; ++t) {
      const BatchToken& token = batch_[size_t(t)];
      if (is_decode_ && !is_seen) norm_and_rope(t, head), store_kv(t, head);  // no other token of the pass reads it
      const int64_t last = token.position + 1, first = layer.window ? std::max<int64_t>(0, last - layer.window) : 0;
      for (int64_t i = 0; i < group; ++i) {  // the heads that share these keys
        const auto offset = size_t(t * q_width_ + (head * group + i) * C);
        queries.push_back({&q_[offset], &z_[offset], first, last});
      }
      if (t + 1 < end && batch_[size_t(t + 1)].cache == token.cache) continue;
      kernels_.attend(token.cache->head(index, head), queries.data(), int64_t(queries.size()), scale,
                      scratch_[size_t(thread)].data());
      queries.clear();
    }
    if (!quantizes || !quantizes_heads) return;
    const int64_t blocks = group * C / BLOCK;
    for (int64_t t = first_token; t < end; ++t)
      kernels_.quantize(&z_[size_t(t * q_width_)], head * blocks, (head + 1) * blocks, quantized_.view(), t);
  });
  if (is_seen) {
    see_attention(index, scale);
    see_all({Point::Z, index}, z_.data(), q_width_, config_.num_heads, C);
  }
  if (quantizes && !quantizes_heads) quantize_rows(z_.data(), q_width_, tokens, quantized_);
  project_into_stream(layer.out, {z_.data(), q_width_, quantized_}, tokens, {Point::ATTN_OUT, index});
  see_all({Point::RESID_MID, index}, x_.data(), width_, 0, config_.d_model);
}

void Model::feed_forward(int64_t index) {
  if (!is_wanted_from({Point::LN2_SCALE, index})) return;
  const Layer& layer = weights_.layers[size_t(index)];
  const auto tokens = int64_t(batch_.size());
  normalize(layer.ln2, x_.data(), tokens, {Point::LN2_SCALE, index}, {&layer.gate, &layer.up});
  const Input input{h_.data(), width_, quantized_};
  const bool gated = config_.activation == Activation::SWIGLU, quantizes = takes_quantized(layer.down);
  if (quantizes) quantized_ff_.resize(activations_, tokens, config_.d_ff);
  const int64_t rows = config_.d_ff;
  float* activated = gated ? gate_.data() : up_.data();
  const auto up = [&](int64_t first, int64_t last, int thread) {
    if (gated) multiply(layer.gate, first, last, input, tokens, nullptr, gate_.data(), ff_width_, thread);
    multiply(layer.up, first, last, input, tokens, nullptr, up_.data(), ff_width_, thread);
  };
  const auto activate = [&](int64_t first, int64_t last) {
    for (int64_t t = 0; t < tokens; ++t)
      kernels_.activate(config_.activation, activated + t * ff_width_ + first, &up_[size_t(t * ff_width_ + first)],
                        padded(last - first));
  };
  const auto quantize = [&](int64_t first, int64_t last) {
    for (int64_t t = 0; quantizes && t < tokens; ++t)
      kernels_.quantize(activated + t * ff_width_, first / BLOCK, padded(last) / BLOCK, quantized_ff_.view(), t);
  };
  const auto for_each_range = [&](const auto& work) {
    threads_.parallel_for_ranges(blocks_of(rows), [&](int64_t first_block, int64_t last_block, int thread) {
      work(first_block * BLOCK, std::min(rows, last_block * BLOCK), thread);
    });
  };
  if (is_wanted({Point::MLP_PRE, index}, Point::MLP_POST)) {
    for_each_range(up);
    see_all({Point::MLP_PRE, index}, activated, ff_width_, 0, rows);
    if (gated) see_all({Point::MLP_PRE_LINEAR, index}, up_.data(), ff_width_, 0, rows);
    for_each_range([&](int64_t first, int64_t last, int) { activate(first, last); });
    see_all({Point::MLP_POST, index}, activated, ff_width_, 0, rows);
    for_each_range([&](int64_t first, int64_t last, int) { quantize(first, last); });
  } else {
    for_each_range([&](int64_t first, int64_t last, int thread) {
      up(first, last, thread), activate(first, last), quantize(first, last);
    });
  }
  project_into_stream(layer.down, {activated, ff_width_, quantized_ff_}, tokens, {Point::MLP_OUT, index});
  see_all({Point::RESID_POST, index}, x_.data(), width_, 0, config_.d_model);
}

/// x = W z + bias + residual: in one step, or, where the result is looked at, in two that round the same.
void Model::project_into_stream(const Linear& linear, const Input& input, int64_t tokens, Site result) {
  const float* residual = config_.residual_normalized ? h_.data() : x_.data();
  if (!is_wanted(result, result.point)) {
    matmul({{&linear, x_.data(), width_}}, input, tokens, residual);
    return;
  }
  grow(sublayer_, tokens * width_);
  matmul({{&linear, sublayer_.data(), width_}}, input, tokens, nullptr);
  see_all(result, sublayer_.data(), width_, 0, config_.d_model);
  for_each_token(tokens, [&](int64_t t, int) {
    const auto at = size_t(t * width_);
    if (config_.residual_normalized) std::copy_n(&h_[at], config_.d_model, &x_[at]);
    add_row(config_.d_model, &x_[at], &sublayer_[at]);
  });
}

/// Whether a matrix meets quantised activations.
bool Model::takes_quantized(const Linear& linear) const {
  return activations_ != ActivationFormat::F32 && is_quantized(linear.weights.format);
}

/// h = norm(x), quantised too where one of its readers wants that.
void Model::normalize(const Norm& norm, const float* x, int64_t count, Site scale,
                      std::initializer_list<const Linear*> readers) {
  const bool quantizes = std::any_of(readers.begin(), readers.end(), [&](auto* one) { return takes_quantized(*one); });
  const bool is_seen = is_wanted(scale, Point(int(scale.point) + 2));  // scale, normalized, out
  if (quantizes) quantized_.resize(activations_, count, config_.d_model);
  for_each_token(count, [&](int64_t t, int) {
    float* h = &h_[size_t(t * width_)];
    kernels_.normalize(x + t * width_, config_.d_model, norm.weight.data(), data_or_null(norm.bias), config_.norm_eps,
                       h);
    if (quantizes && !is_seen) kernels_.quantize(h, 0, quantized_.view().blocks, quantized_.view(), t);
  });
  if (!is_seen) return;
  see_norm(norm, x, scale);
  if (quantizes) quantize_rows(h_.data(), width_, count, quantized_);
}

void Model::quantize_rows(const float* x, int64_t stride, int64_t count, const QuantizedBuffer& out) {
  for_each_token(count,
                 [&](int64_t t, int) { kernels_.quantize(x + t * stride, 0, out.view().blocks, out.view(), t); });
}

/// out = W x + bias + addend, for the rows first <= r < last (multiples of ROW_GROUP, or the last row).
void Model::multiply(const Linear& linear, int64_t first, int64_t last, const Input& input, int64_t tokens,
                     const float* addend, float* out, int64_t out_stride, int thread) {
  const float* bias = data_or_null(linear.bias);
  float* scratch = scratch_[size_t(thread)].data();
  const auto run = [&](const Matrix& weights, int64_t row, int64_t from, int64_t to) {
    // Row `row` of the whole matrix is the first one of `weights`.
    const float *its_bias = bias ? bias + row : nullptr, *its_addend = addend ? addend + row : nullptr;
    if (takes_quantized(linear))
      kernels_.matmul_quantized(weights, from, to, input.quantized.view(), tokens, its_bias, its_addend, out + row,
                                out_stride, scratch);
    else
      kernels_.matmul(weights, from, to, input.x, input.stride, tokens, its_bias, its_addend, out + row, out_stride,
                      scratch);
  };
  if (linear.weights.packed) return run(linear.weights, 0, first, last);
  uint8_t* packed = row_groups_[size_t(thread)].data();
  for (int64_t row = first; row < last; row += ROW_GROUP) {
    pack_groups(linear.weights, row / ROW_GROUP, row / ROW_GROUP + 1, packed);
    Matrix group = linear.weights;
    group.rows = std::min(ROW_GROUP, last - row), group.data = nullptr, group.packed = packed;
    run(group, row, 0, group.rows);
  }
}

/// Several products of the same activations, such as q, k and v, their rows shared among the threads: in blocks, whole
/// blocks of the activations that they may become.
void Model::matmul(const std::vector<MatMul>& matmuls, const Input& input, int64_t tokens, const float* addend) {
  int64_t blocks = 0;
  for (const MatMul& one : matmuls) blocks += blocks_of(one.linear->weights.rows);
  threads_.parallel_for_ranges(blocks, [&](int64_t first_block, int64_t last_block, int thread) {
    for (const MatMul& one : matmuls) {  // the blocks count on from one matrix to the next
      const int64_t rows = one.linear->weights.rows;
      const int64_t first = std::max<int64_t>(0, first_block) * BLOCK, last = std::min(rows, last_block * BLOCK);
      if (first < last) multiply(*one.linear, first, last, input, tokens, addend, one.out, one.out_stride, thread);
      first_block -= blocks_of(rows), last_block -= blocks_of(rows);
    }
  });
}

// -- rotary positions ------------------------------------------------------------------------------------------------

/// A pair (a, b) becomes (a cos - b sin, b cos + a sin).
void Model::apply_rope(float* head, int64_t position) const {
  const auto pairs = int64_t(weights_.rope_frequencies.size());
  const float *cos = &cos_[size_t(position * pairs)], *sin = &sin_[size_t(position * pairs)];
  const int64_t step = config_.rope_interleaved ? 2 : 1, distance = config_.rope_interleaved ? 1 : pairs;
  for (int64_t i = 0; i < pairs; ++i) {
    float &a = head[i * step], &b = head[i * step + distance];
    const float rotated = a * cos[i] - b * sin[i];
    b = b * cos[i] + a * sin[i];
    a = rotated;
  }
}

/// Cosines and sines of the first `positions` positions; angles in double precision.
void Model::extend_rope_tables(int64_t positions) {
  const size_t pairs = weights_.rope_frequencies.size();
  const size_t size = size_t(positions) * pairs;
  for (auto* values : {&cos_, &sin_})  // room for both before either grows: they stay equally long
    if (values->capacity() < size) values->reserve(std::max(size, 2 * values->capacity()));
  for (size_t position = pairs ? cos_.size() / pairs : size_t(positions); position < size_t(positions); ++position)
    for (const double frequency : weights_.rope_frequencies) {
      const CosSin angle = cos_sin(double(position) * frequency);
      cos_.push_back(float(weights_.rope_attention_factor * angle.cos));
      sin_.push_back(float(weights_.rope_attention_factor * angle.sin));
    }
}

}  // namespace nextword
