// Every thread does the same piece of work; a pass lasts from the first start to the last end.
#include "core/probe.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>

#include "core/memory.h"
#include "core/threads.h"

namespace wayra {
namespace {
constexpr int64_t kRounds = 5000;  // about a millisecond, longer on CPUs without wide registers
constexpr int kLeastPasses = 3;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The best rate of passes that last `seconds` together; work(thread) returns what it did.
double best_rate(ThreadPool& pool, double seconds, const std::function<int64_t(int)>& work) {
  struct Pass {
    const std::function<int64_t(int)>& work;
    std::atomic<int64_t> done{0};
  };
  double best = 0.0;
  const auto begin = Clock::now();
  for (int pass = 0; pass < kLeastPasses || seconds_since(begin) < seconds; ++pass) {
    Pass context{work};
    const auto start = Clock::now();
    pool.run(
        [](void* c, int thread) {
          auto& p = *static_cast<Pass*>(c);
          p.done += p.work(thread);
        },
        &context);
    best = std::max(best, static_cast<double>(context.done) / seconds_since(start));
  }
  return best;
}
}  // namespace

MachinePeaks probe(const KernelTable& kernels, int threads, int64_t buffer_bytes, double seconds) {
  ThreadPool pool(threads);
  const int64_t part = buffer_bytes / threads / 4096 * 4096;
  Memory buffer(static_cast<size_t>(part * threads), true);
  std::memset(buffer.data(), 1, buffer.size());  // pages that were never written are all one page of zeros
  const auto spin = [&](Peak peak) {
    return best_rate(pool, seconds, [&](int) { return kernels.spin(peak, kRounds); }) / 1e9;
  };
  MachinePeaks found{};
  found.read_gb_s = best_rate(pool, seconds,
                              [&](int thread) {
                                kernels.read(buffer.data() + thread * part, part);
                                return part;
                              }) /
                    1e9;
  found.int8_gop_s = spin(Peak::kInt8);
  found.bf16_gop_s = spin(Peak::kBF16);
  found.f32_gop_s = spin(Peak::kF32);
  return found;
}
}  // namespace wayra
