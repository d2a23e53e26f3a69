#include "large_memory.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#endif

namespace nextword {
namespace {

constexpr size_t HUGE_PAGE = size_t{2} << 20;

}  // namespace

void LargeMemory::allocate(size_t bytes, size_t sparse) {
  if (bytes > std::numeric_limits<size_t>::max() - 2 * HUGE_PAGE) throw std::bad_alloc();
  const bool is_large = bytes >= HUGE_PAGE;
  bytes_ = is_large ? (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE + HUGE_PAGE : bytes + 64;
#if defined(__unix__) || defined(__APPLE__)
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
#else
  void* memory = std::calloc(bytes_, 1);
  if (!memory) throw std::bad_alloc();
#endif
  memory_ = memory;
  const size_t line = is_large ? HUGE_PAGE : 64;
  data_ = static_cast<uint8_t*>(memory) + (line - uintptr_t(memory) % line) % line;
#if defined(MADV_HUGEPAGE)
  if (!is_large) return;
  const size_t whole = bytes_ - HUGE_PAGE;
  const size_t small = std::min((sparse + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE, whole);
  if (small > 0) madvise(data_, small, MADV_NOHUGEPAGE);  // either may be refused
  if (small < whole) madvise(data_ + small, whole - small, MADV_HUGEPAGE);
#endif
}

LargeMemory::~LargeMemory() {
#if defined(__unix__) || defined(__APPLE__)
  if (memory_) munmap(memory_, bytes_);
#else
  std::free(memory_);
#endif
}

}  // namespace nextword
