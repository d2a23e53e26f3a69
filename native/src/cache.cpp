#include "cache.h"

#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

namespace nextword {

Cache::Cache(const Config& config, int64_t capacity, CacheFormat format, uint64_t model)
    : config_(config), format_(format), model_(model), capacity_(capacity),
      head_bytes_(HeadCache{format, config.head_dim, nullptr, 0}.bytes()),
      block_bytes_(head_bytes_ * config.num_layers * config.num_kv_heads) {
  if (capacity < 0) throw std::invalid_argument("a cache cannot hold " + std::to_string(capacity) + " tokens");
  const int64_t blocks = blocks_for(capacity);
  if (double(blocks) * double(block_bytes_) > 1e18) throw std::bad_alloc();  // its bytes could not even be counted
  bytes_ = blocks * block_bytes_;
  // The system gives a page when it is touched: a short text touches a little of every head in the first block.
  memory_.allocate(size_t(bytes_), size_t(block_bytes_));
}

HeadCache Cache::head(int64_t layer, int64_t head) const {
  return {format_, config_.head_dim, memory_.data() + (layer * config_.num_kv_heads + head) * head_bytes_,
          block_bytes_};
}

std::unique_ptr<Cache> Cache::fork() const {
  auto copy = std::make_unique<Cache>(config_, capacity_, format_, model_);
  const int64_t whole = length_ / KEY_BLOCK, rest = length_ % KEY_BLOCK;
  std::memcpy(copy->memory_.data(), memory_.data(), size_t(whole * block_bytes_));
  const int64_t element = element_bytes(format_), key_group = config_.head_dim * KEY_GROUP * element;
  for (int64_t layer = 0; rest && layer < config_.num_layers; ++layer)
    for (int64_t i = 0; i < config_.num_kv_heads; ++i) {  // of the last block the tokens that are there
      const HeadCache from = head(layer, i), to = copy->head(layer, i);
      std::memcpy(to.keys(whole), from.keys(whole), size_t((rest + KEY_GROUP - 1) / KEY_GROUP * key_group));
      for (int64_t group = 0; group < from.value_groups(); ++group) {
        const int64_t at = group * KEY_BLOCK * VALUE_GROUP * element;
        std::memcpy(to.values(whole) + at, from.values(whole) + at, size_t(rest * VALUE_GROUP * element));
      }
      if (format_ != CacheFormat::INT8) continue;
      std::memcpy(to.key_scales(whole), from.key_scales(whole), size_t(rest) * sizeof(float));
      std::memcpy(to.value_scales(whole), from.value_scales(whole), size_t(rest) * sizeof(float));
    }
  copy->length_ = length_, copy->origin = origin;
  return copy;
}

}  // namespace nextword
