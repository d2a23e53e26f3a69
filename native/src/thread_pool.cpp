#include "thread_pool.h"

#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace nextword {
namespace {

constexpr auto SPIN_TIME = std::chrono::microseconds(300);  // longer than choosing a token takes between two passes

void cpu_relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

uint32_t job_of(uint64_t ticket) { return uint32_t(ticket >> 32); }
uint32_t remaining(uint64_t ticket) { return uint32_t(ticket); }

}  // namespace

ThreadPool::ThreadPool(int count) {
  try {
    for (int i = 1; i < count; ++i) workers_.emplace_back([this, i] { worker_loop(i); });
  } catch (const std::system_error& error) {
    const size_t started = workers_.size() + 1;
    stop();
    throw std::runtime_error("the system starts " + std::to_string(started) + " of " + std::to_string(count) +
                             " threads: " + error.what());
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::run(int64_t items, Call call, const void* context) {
  call_ = call, context_ = context;
  done_.store(0, std::memory_order_relaxed);
  const uint32_t job = job_of(ticket_.load(std::memory_order_relaxed)) + 1;
  ticket_ = uint64_t(job) << 32 | uint64_t(items);
  if (asleep_ > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  while (run_one(0, job)) {
  }
  for (int spins = 0; done_.load(std::memory_order_acquire) < items; ++spins) {
    if (spins < 10000) cpu_relax();
    else std::this_thread::yield();
  }
  if (failed_.exchange(false)) std::rethrow_exception(std::exchange(error_, nullptr));
}

/// Does one item of a job, or passes over it where the job has failed; false if none is left or the job is over.
bool ThreadPool::run_one(int thread, uint32_t job) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  do {
    if (job_of(ticket) != job || remaining(ticket) == 0) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel, std::memory_order_acquire));
  try {
    if (!failed_.load(std::memory_order_relaxed)) call_(context_, int64_t(remaining(ticket)) - 1, thread);
  } catch (...) {  // a thread that let it through would end the whole process
    if (!failed_.exchange(true)) error_ = std::current_exception();
  }
  done_.fetch_add(1, std::memory_order_release);
  return true;
}

void ThreadPool::worker_loop(int thread) {
  auto last_work = std::chrono::steady_clock::now();
  while (!stopping_.load(std::memory_order_relaxed)) {
    const uint64_t ticket = ticket_.load(std::memory_order_acquire);
    if (remaining(ticket) > 0) {
      while (run_one(thread, job_of(ticket))) {
      }
      last_work = std::chrono::steady_clock::now();
      continue;
    }
    for (int i = 0; i < 32 && remaining(ticket_.load(std::memory_order_relaxed)) == 0; ++i) cpu_relax();
    if (std::chrono::steady_clock::now() - last_work < SPIN_TIME) continue;
    std::unique_lock<std::mutex> lock(mutex_);
    ++asleep_;  // before the last look at the ticket: whoever sets it looks at this afterwards
    wake_.wait(lock, [this] { return stopping_ || remaining(ticket_) > 0; });
    --asleep_;
  }
}

}  // namespace nextword
