// A persistent pool. The caller is thread 0; a job runs on every thread; inside a job threads meet at barriers and
// claim work from counters, so that a thread that loses its core does not hold up the others' share.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace wayra {

class ThreadPool {
 public:
  // Throws std::runtime_error when the system gives fewer threads.
  explicit ThreadPool(int size);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // Runs job(context, thread) on every thread and returns when all have finished. The job must not throw.
  using Job = void (*)(void* context, int thread);
  void run(Job job, void* context);

  // Called by every thread of a job, with its number. Spins, then sleeps: a sleeping thread's core is free to run the
  // one that lost its own.
  void barrier(int thread);

 private:
  void worker(int thread);
  void stop();
  template <class T>
  void wait_for_change(const std::atomic<T>& value, T old, std::atomic<int>& sleepers, int thread);
  void move_apart(int thread);

  struct alignas(64) Seat {
    std::atomic<int> cpu{-1};  // where the thread was last seen
  };

  const int size_;
  std::vector<Seat> seats_;  // [size]
  std::vector<std::thread> threads_;
  Job job_ = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<int> sleeping_{0};
  alignas(64) std::atomic<int> running_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
  alignas(64) std::atomic<int> waiting_{0};  // sleepers at the barrier, and the caller asleep in run
  std::atomic<bool> stop_{false};
};

// A counter from which threads claim chunks of [0, total).
struct alignas(64) Claims {
  std::atomic<int64_t> next{0};

  bool claim(int64_t total, int64_t chunk, int64_t* begin, int64_t* end) {
    if (next.load(std::memory_order_relaxed) >= total) return false;
    const int64_t at = next.fetch_add(chunk, std::memory_order_relaxed);
    if (at >= total) return false;
    *begin = at;
    *end = at + chunk < total ? at + chunk : total;
    return true;
  }

  // Shares of whole tiles, in rounds of one for each thread: three quarters of what is left, so that the threads end
  // together; all of it for one thread, or where a share would be below `least`. Never above `most`.
  struct Tiles {
    int64_t tile, least, most;

    int64_t share(int64_t left, int threads) const {
      const int64_t some = left * 3 / 4 / threads / tile * tile;
      const int64_t all = ((left + threads - 1) / threads + tile - 1) / tile * tile;
      return std::min(threads == 1 || some < least ? all : some, most);
    }
  };
  bool claim_tiles(int64_t total, Tiles size, int threads, int64_t* begin, int64_t* end) {
    int64_t at = next.load(std::memory_order_relaxed);
    int64_t stop = 0;
    do {
      if (at >= total) return false;
      int64_t round = 0;
      int64_t share = size.share(total, threads);
      while (at >= round + share * threads) {
        round += share * threads;
        share = size.share(total - round, threads);
      }
      stop = std::min(at + share, total);
    } while (!next.compare_exchange_weak(at, stop, std::memory_order_relaxed));
    *begin = at;
    *end = stop;
    return true;
  }

  // Chunks that shrink with what is left, so that threads end together after few claims; none crosses a multiple of
  // `border`.
  bool claim_share(int64_t total, int64_t border, int threads, int64_t* begin, int64_t* end) {
    int64_t at = next.load(std::memory_order_relaxed);
    int64_t stop = 0;
    do {
      if (at >= total) return false;
      const int64_t share = (total - at) / (2 * threads);
      const int64_t edge = (at / border + 1) * border;
      stop = at + (share > 1 ? share : 1);
      if (stop > edge) stop = edge;
      if (stop > total) stop = total;
    } while (!next.compare_exchange_weak(at, stop, std::memory_order_relaxed));
    *begin = at;
    *end = stop;
    return true;
  }
};

// Runs work() on `threads` threads, or on as many as the system gives, and returns when all have finished. Every call
// must be able to do all that is left. work must not throw.
void run_on_threads(int threads, const std::function<void()>& work);

}  // namespace wayra
