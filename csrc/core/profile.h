// Where the time of a step goes: per operation and thread, nanoseconds of work and of waiting at barriers.
#pragma once
#include <chrono>
#include <cstdint>
#include <vector>

namespace wayra {

// Off until `start`; then every entry costs two readings of the clock a thread. Threads write to cells of their own.
class Profile {
 public:
  struct Cell {
    int64_t work_ns = 0;
    int64_t wait_ns = 0;
  };

  void start(int threads, size_t entries) {
    entries_ = entries;
    cells_.assign(static_cast<size_t>(threads) * entries, Cell{});
    open_.assign(static_cast<size_t>(threads), Open{});
  }
  void stop() { open_.clear(); }
  bool on() const { return !open_.empty(); }
  size_t entries() const { return entries_; }
  const std::vector<Cell>& cells() const { return cells_; }  // [threads][entries]

  void enter(int thread, size_t entry) {
    if (!on()) return;
    Open& o = open_[static_cast<size_t>(thread)];
    const int64_t now = clock_ns();
    close(thread, o, now);
    o.entry = entry;
    o.since_ns = now;
    o.waited_ns = 0;
    o.running = true;
  }
  void leave(int thread) {
    if (!on()) return;
    Open& o = open_[static_cast<size_t>(thread)];
    close(thread, o, clock_ns());
    o.running = false;
  }
  void waited(int thread, int64_t ns) { open_[static_cast<size_t>(thread)].waited_ns += ns; }

  static int64_t clock_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

 private:
  struct alignas(64) Open {
    size_t entry = 0;
    int64_t since_ns = 0;
    int64_t waited_ns = 0;
    bool running = false;
  };

  void close(int thread, const Open& o, int64_t now) {
    if (!o.running) return;
    Cell& cell = cells_[static_cast<size_t>(thread) * entries_ + o.entry];
    cell.work_ns += now - o.since_ns - o.waited_ns;
    cell.wait_ns += o.waited_ns;
  }

  size_t entries_ = 0;
  std::vector<Cell> cells_;
  std::vector<Open> open_;
};

}  // namespace wayra
