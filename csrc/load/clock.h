// The clock of all times: the one that Python's time.perf_counter() reads, or one that a test moves by hand.
#pragma once
#include <time.h>

#include <atomic>
#include <cstdint>

namespace wayra::load {

class Clock {
 public:
  int64_t now_ns() const {
    const int64_t set = set_ns_.load(std::memory_order_acquire);
    return set >= 0 ? set : read(CLOCK_MONOTONIC);
  }
  // A moment not long ago on the clock of the day, as this clock would have told it. Negative when it is set by hand.
  int64_t from_day_ns(int64_t day_ns) const {
    if (set_ns_.load(std::memory_order_acquire) >= 0) return -1;
    return day_ns - (read(CLOCK_REALTIME) - read(CLOCK_MONOTONIC));
  }
  // From now on the clock says this, until it is set again.
  void set_ns(int64_t at) { set_ns_.store(at, std::memory_order_release); }

 private:
  static int64_t read(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
  }
  std::atomic<int64_t> set_ns_{-1};
};

}  // namespace wayra::load
