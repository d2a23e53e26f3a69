// The KV cache.
#pragma once

#include <memory>

#include "config.h"
#include "kernels.h"
#include "large_memory.h"

namespace nextword {

/// The KV cache of one sequence, in memory that is set aside once and touched as it fills.
class Cache {
 public:
  /// `model` is the id of the model whose keys and values it holds: no other one can read them.
  Cache(const Config& config, int64_t capacity, CacheFormat format, uint64_t model);

  uint64_t model() const { return model_; }
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  int64_t bytes() const { return bytes_; }
  void truncate(int64_t length) { length_ = length; }
  void advance(int64_t count) { length_ += count; }
  std::unique_ptr<Cache> fork() const;
  HeadCache head(int64_t layer, int64_t head) const;

  int64_t origin = 0;  // where its first token stands in the text

 private:
  static int64_t blocks_for(int64_t tokens) { return (tokens + KEY_BLOCK - 1) / KEY_BLOCK; }

  Config config_;
  CacheFormat format_;
  uint64_t model_;
  int64_t capacity_, length_ = 0, head_bytes_, block_bytes_, bytes_ = 0;
  LargeMemory memory_;  // [block][layer][head]: it fills from one end to the other
};

}  // namespace nextword
