// Spinning first keeps the wake-up between two decode steps under a microsecond; sleeping after that frees the core.
#include "core/threads.h"

#include <exception>
#include <stdexcept>
#include <string>

#include "core/cpus.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace wayra {
namespace {
// Tens of microseconds of polling: longer than a healthy wait inside a step, or between two steps.
constexpr int kSpinsBeforeSleep = 2000;

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

template <class T>
void wake(std::atomic<T>& value, const std::atomic<int>& sleepers) {
  if (sleepers.load(std::memory_order_seq_cst) > 0) value.notify_all();
}
}  // namespace

// Polls until `value` differs from `old`, then sleeps. `sleepers` tells the other side that a wake-up call is needed:
// it is raised before the value is looked at again, and the other side changes the value before it looks at it.
template <class T>
void ThreadPool::wait_for_change(const std::atomic<T>& value, T old, std::atomic<int>& sleepers, int thread) {
  for (int spins = 0; value.load(std::memory_order_acquire) == old; ++spins) {
    if (spins < kSpinsBeforeSleep) {
      relax();
      continue;
    }
    move_apart(thread);
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    value.wait(old, std::memory_order_seq_cst);
    sleepers.fetch_sub(1, std::memory_order_relaxed);
  }
}

// A system that wakes a thread where its waker runs leaves both on one core, and as they take turns in sleeping, no
// balancing of load ever parts them while another core is idle. Whoever waited long and sits with a thread of a lower
// number goes elsewhere.
void ThreadPool::move_apart(int thread) {
  const int here = current_cpu();
  seats_[static_cast<size_t>(thread)].cpu.store(here, std::memory_order_relaxed);
  bool is_shared = false;
  std::vector<int> taken;
  for (int other = 0; other < size_; ++other) {
    const int cpu = seats_[static_cast<size_t>(other)].cpu.load(std::memory_order_relaxed);
    is_shared = is_shared || (other < thread && cpu == here && here >= 0);
    taken.push_back(cpu);
  }
  if (is_shared && leave_cpus(taken)) {
    seats_[static_cast<size_t>(thread)].cpu.store(current_cpu(), std::memory_order_relaxed);
  }
}

ThreadPool::ThreadPool(int size) : size_(size < 1 ? 1 : size), seats_(static_cast<size_t>(size_)) {
  threads_.reserve(static_cast<size_t>(size_));
  try {
    for (int i = 1; i < size_; ++i) threads_.emplace_back([this, i] { worker(i); });
  } catch (const std::exception& error) {
    stop();  // a thread that is still joinable when its object goes ends the process
    throw std::runtime_error("the system gave " + std::to_string(threads_.size() + 1) + " of " + std::to_string(size_) +
                             " threads (" + error.what() + "); ask for fewer");
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_seq_cst);
  generation_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void ThreadPool::run(Job job, void* context) {
  job_ = job;
  context_ = context;
  running_.store(size_ - 1, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_seq_cst);
  wake(generation_, sleeping_);
  seats_[0].cpu.store(current_cpu(), std::memory_order_relaxed);
  job(context, 0);
  for (int left; (left = running_.load(std::memory_order_acquire)) > 0;) wait_for_change(running_, left, waiting_, 0);
}

void ThreadPool::barrier(int thread) {
  if (size_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_seq_cst);
    wake(phase_, waiting_);
    return;
  }
  wait_for_change(phase_, phase, waiting_, thread);
}

void ThreadPool::worker(int thread) {
  uint32_t seen = 0;
  for (;;) {
    wait_for_change(generation_, seen, sleeping_, thread);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    job_(context_, thread);
    running_.fetch_sub(1, std::memory_order_seq_cst);
    wake(running_, waiting_);
  }
}

void run_on_threads(int threads, const std::function<void()>& work) {
  std::vector<std::thread> helpers;
  helpers.reserve(static_cast<size_t>(threads > 0 ? threads : 0));
  try {
    for (int i = 1; i < threads; ++i) helpers.emplace_back(work);
  } catch (const std::exception&) {
    // Fewer do the same work.
  }
  work();
  for (std::thread& t : helpers) t.join();
}

}  // namespace wayra
