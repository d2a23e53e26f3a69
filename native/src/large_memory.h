// Memory in huge pages, where the system has them: what is read from one end to the other is read faster from few of
// them than from many small ones.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nextword {

/// Zeroed memory that begins at a huge page, or at a cache line where it would not fill one. The system may refuse huge
/// pages: it is memory all the same.
class LargeMemory {
 public:
  LargeMemory() = default;
  ~LargeMemory();
  LargeMemory(const LargeMemory&) = delete;
  LargeMemory& operator=(const LargeMemory&) = delete;

  /// Once. Throws std::bad_alloc. The first `sparse` bytes come in small pages: what is hardly touched stays small.
  void allocate(size_t bytes, size_t sparse = 0);
  /// Null before that.
  uint8_t* data() const { return data_; }

 private:
  void* memory_ = nullptr;  // `data_` is the first huge page in it
  size_t bytes_ = 0;
  uint8_t* data_ = nullptr;
};

}  // namespace nextword
