#include "thread_pool.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/resource.h>
#endif

namespace nextword {
namespace {

using namespace std::chrono_literals;

constexpr auto WORKER_SPIN_TIME = 300us;  // longer than choosing a token takes between two passes
constexpr auto CALLER_SPIN_TIME = 100us;  // longer than the last items of a job take
constexpr auto HELD_UP_TIME = 200us;      // less than a time slice of the system's
constexpr auto WINDOW = 10ms;             // over which the caller counts how often it was interrupted
constexpr long MAX_INTERRUPTIONS = 2;     // of a window: the system's daemons take fewer, a busy process more
constexpr auto MIN_PATIENCE = 10ms, MAX_PATIENCE = 1000ms;

void cpu_relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// How often another thread was given this one's processor so far; 0 where the system does not tell.
long interruptions() {
#if defined(RUSAGE_THREAD)
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
#else
  return 0;
#endif
}

/// Looks at a condition for a while; whether it came true.
template <class Condition>
bool spin_until(const Condition& condition) {
  for (int i = 0; i < 32; ++i) {
    if (condition()) return true;
    cpu_relax();
  }
  return false;
}

constexpr int ITEM_BITS = 20, JOB_BITS = 24;
static_assert(ThreadPool::MAX_ITEMS < 1 << ITEM_BITS);

uint64_t pack(uint32_t job, int64_t first, int64_t last) {
  return uint64_t(job) << (2 * ITEM_BITS) | uint64_t(first) << ITEM_BITS | uint64_t(last);
}
uint32_t job_of(uint64_t range) { return uint32_t(range >> (2 * ITEM_BITS)); }
int64_t first_of(uint64_t range) { return int64_t(range >> ITEM_BITS) & ThreadPool::MAX_ITEMS; }
int64_t last_of(uint64_t range) { return int64_t(range) & ThreadPool::MAX_ITEMS; }
bool is_empty(uint64_t range) { return first_of(range) == last_of(range); }

}  // namespace

ThreadPool::ThreadPool(int count)
    : shares_(std::make_unique<Share[]>(size_t(count))), active_(count), patience_(MIN_PATIENCE) {
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

// -- the caller ------------------------------------------------------------------------------------------------------

void ThreadPool::run(int64_t items, Call call, const void* context) {
  if (items > MAX_ITEMS) throw std::invalid_argument(std::to_string(items) + " items are too many for one job");
  const auto start = Clock::now();
  if (active_ == 1) {
    call(context, 0, items, 0);
    adapt(start, {}, {});
    return;
  }
  share_out(items, call, context);
  work_on(job_, 0);
  const auto end = Clock::now();
  wait_for(items);
  adapt(start, end - start, Clock::now() - end);
  if (failed_.exchange(false)) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::share_out(int64_t items, Call call, const void* context) {
  done_.store(0, std::memory_order_relaxed);
  job_ = (job_ + 1) % (1 << JOB_BITS);
  const auto first_item = [&](int thread) { return (items * thread + active_ - 1) / active_; };
  for (int thread = active_ - 1; thread >= 0; --thread) {
    Share& share = shares_[size_t(thread)];
    share.call = call, share.context = context;
    share.range.store(pack(job_, first_item(thread), first_item(thread + 1)), std::memory_order_release);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // whoever falls asleep has seen the job, or is seen asleep
  if (asleep_.load(std::memory_order_relaxed) > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
}

/// Waits for the others' last items. Who has one may not be running, because another process is: then the caller sleeps
/// and leaves it the processor.
void ThreadPool::wait_for(int64_t items) {
  const auto is_done = [&] { return done_.load() == items; };
  const auto start = Clock::now();
  while (!spin_until(is_done)) {
    if (Clock::now() - start < CALLER_SPIN_TIME) continue;
    std::unique_lock<std::mutex> lock(mutex_);
    caller_asleep_ = true;  // before the last look at what is done: whoever adds to it looks at this afterwards
    finished_.wait(lock, is_done);
    caller_asleep_ = false;
  }
}

/// Jobs are shared among as many threads as find a processor: one fewer after a job that was held up, or when the
/// caller was interrupted often, and one more after a while in which that was not so. The while becomes longer as long
/// as it goes wrong. TCP looks for its share of a line in the same way.
void ThreadPool::adapt(Clock::time_point start, Clock::duration worked, Clock::duration waited) {
  bool crowded = waited > std::max<Clock::duration>(HELD_UP_TIME, 2 * worked);
  if (start - window_start_ > WINDOW) {
    const long count = interruptions();
    crowded |= (count - interruptions_) * WINDOW > MAX_INTERRUPTIONS * (start - window_start_);
    window_start_ = start, interruptions_ = count;
  }
  if (crowded) {
    active_ = std::max(1, active_ - 1);
    patience_ = std::min<Clock::duration>(MAX_PATIENCE, 2 * patience_);
    changed_ = start;
  } else if (start - changed_ > patience_) {
    if (active_ < count()) ++active_;
    else patience_ = MIN_PATIENCE;
    changed_ = start;
  }
}

// -- everybody -------------------------------------------------------------------------------------------------------

/// Does what is left of a job: of the own share first, then of the others'.
void ThreadPool::work_on(uint32_t job, int thread) {
  for (int i = 0; i < count(); ++i) {
    Share& share = shares_[size_t((thread + i) % count())];
    while (take(share, job, thread)) {
    }
  }
}

/// Takes half of a share and does it, or passes over it where the job has failed; false if nothing of the job is left.
bool ThreadPool::take(Share& share, uint32_t job, int thread) {
  const bool own = &share == &shares_[size_t(thread)];
  uint64_t range = share.range.load(std::memory_order_acquire), rest = 0;
  int64_t first = 0, last = 0;
  do {
    first = first_of(range), last = last_of(range);
    if (job_of(range) != job || first == last) return false;
    const int64_t count = (last - first + 1) / 2;
    rest = own ? pack(job, first + count, last) : pack(job, first, last - count);
    if (own) last = first + count;
    else first = last - count;
  } while (!share.range.compare_exchange_weak(range, rest, std::memory_order_acq_rel, std::memory_order_acquire));
  try {
    if (!failed_.load(std::memory_order_relaxed)) share.call(share.context, first, last, thread);
  } catch (...) {  // a thread that let it through would end the whole process
    if (!failed_.exchange(true)) error_ = std::current_exception();
  }
  done_.fetch_add(last - first);
  if (caller_asleep_) {
    std::lock_guard<std::mutex> lock(mutex_);
    finished_.notify_one();
  }
  return true;
}

void ThreadPool::worker_loop(int thread) {
  const Share& own = shares_[size_t(thread)];
  const auto has_work = [&] { return !is_empty(own.range.load(std::memory_order_acquire)); };
  auto last_work = Clock::now();
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (spin_until(has_work)) {
      work_on(job_of(own.range.load(std::memory_order_acquire)), thread);
      last_work = Clock::now();
    } else if (Clock::now() - last_work > WORKER_SPIN_TIME) {
      std::unique_lock<std::mutex> lock(mutex_);
      ++asleep_;  // before the last look at the share: whoever fills it looks at this afterwards
      std::atomic_thread_fence(std::memory_order_seq_cst);
      wake_.wait(lock, [&] { return stopping_ || has_work(); });
      --asleep_;
    }
  }
}

}  // namespace nextword
