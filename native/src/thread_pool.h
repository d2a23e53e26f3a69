// A few threads that share the items of a job. Between two jobs they spin for a moment, then sleep.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace nextword {

class ThreadPool {  // NOLINT(clang-analyzer-optin.performance.Padding): what many threads write has lines of its own
 public:
  /// `count` threads in all, the caller's own included. Throws std::runtime_error where the system starts no more.
  explicit ThreadPool(int count);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int count() const { return int(workers_.size()) + 1; }

  /// Calls `work(first, last, thread)` for ranges that together hold each item 0 <= item < items once, and waits for
  /// all; items are at most MAX_ITEMS.
  ///
  /// Each thread has a share of neighbouring items and takes half of what is left of it, again and again: long runs
  /// first, short ones at the end. Whose share is done takes from the end of others', so that a slow core, or one that
  /// is busy, holds nobody up for long. Nobody waits for a thread that has not begun: after a fork, the caller does
  /// everything itself. What `work` throws, on whichever thread, ends the job, and the caller gets it.
  template <class Work>
  void parallel_for_ranges(int64_t items, const Work& work) {
    if (items <= 1 || workers_.empty()) {
      if (items > 0) work(int64_t(0), items, 0);
      return;
    }
    run(
        items,
        [](const void* context, int64_t first, int64_t last, int thread) {
          (*static_cast<const Work*>(context))(first, last, thread);
        },
        &work);
  }

  /// Calls `work(item, thread)` once for each item, as above.
  template <class Work>
  void parallel_for(int64_t items, const Work& work) {
    parallel_for_ranges(items, [&](int64_t first, int64_t last, int thread) {
      for (int64_t item = first; item < last; ++item) work(item, thread);
    });
  }

  static constexpr int64_t MAX_ITEMS = (1 << 20) - 1;

 private:
  using Call = void (*)(const void*, int64_t, int64_t, int);
  using Clock = std::chrono::steady_clock;

  /// A thread's items of a job that nobody has taken yet. What is in it came from the caller with the job: its thread
  /// finds all of it in one cache line.
  struct alignas(64) Share {
    std::atomic<uint64_t> range{0};  // the job's number, first item, last item; who changes it owns what it took out
    Call call = nullptr;
    const void* context = nullptr;
  };

  void run(int64_t items, Call call, const void* context);
  void share_out(int64_t items, Call call, const void* context);
  void wait_for(int64_t items);
  void work_on(uint32_t job, int thread);
  bool take(Share& share, uint32_t job, int thread);
  void adapt(Clock::time_point start, Clock::duration worked, Clock::duration waited);
  void worker_loop(int thread);
  void stop();

  std::unique_ptr<Share[]> shares_;
  alignas(64) std::atomic<int64_t> done_{0};
  std::atomic<bool> caller_asleep_{false};
  alignas(64) std::atomic<bool> failed_{false};
  std::exception_ptr error_;  // the first one of the job; written by who sets `failed_`

  // The caller's own: see adapt().
  uint32_t job_ = 0;
  int active_;
  Clock::time_point changed_, window_start_;
  Clock::duration patience_;
  long interruptions_ = 0;

  std::atomic<int> asleep_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  std::vector<std::thread> workers_;
};

}  // namespace nextword
