// A few threads that share the items of a job. Between two jobs they spin for a moment, then sleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace nextword {

class ThreadPool {
 public:
  /// `count` threads in all, the caller's own included. Throws std::runtime_error where the system starts no more.
  explicit ThreadPool(int count);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int count() const { return int(workers_.size()) + 1; }

  /// Calls `work(item, thread)` once for each item 0 <= item < items, on whichever thread is free, and waits for all.
  ///
  /// Nobody waits for a thread that has not begun: where the machine is busy, or after a fork, the caller does more
  /// itself. What `work` throws, on whichever thread, ends the job, and the caller gets it.
  template <class Work>
  void parallel_for(int64_t items, const Work& work) {
    if (items <= 1 || workers_.empty()) {
      for (int64_t item = 0; item < items; ++item) work(item, 0);
      return;
    }
    run(
        items,
        [](const void* context, int64_t item, int thread) { (*static_cast<const Work*>(context))(item, thread); },
        &work);
  }

 private:
  using Call = void (*)(const void*, int64_t, int);

  void run(int64_t items, Call call, const void* context);
  bool run_one(int thread, uint32_t job);
  void worker_loop(int thread);
  void stop();

  // The job's number above, how many of its items nobody has taken yet below. Who lowers it owns that item, and until
  // the item is done the job's fields stay as they are.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int64_t> done_{0};
  Call call_ = nullptr;
  const void* context_ = nullptr;
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;  // the first one of the job; written by who sets `failed_`

  std::atomic<int> asleep_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace nextword
