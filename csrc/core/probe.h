// Measures what this machine allows at most, with the instructions the kernels use.
#pragma once
#include <cstdint>

#include "core/abi.h"

namespace wayra {
// Of all threads together: 1e9 bytes and operations a second, a multiply-add being two. The best of a few passes, for
// others can only slow one down.
struct MachinePeaks {
  double read_gb_s, int8_gop_s, bf16_gop_s, f32_gop_s;
};

// Takes about four times `seconds`. buffer_bytes: what is read again and again, of size and place as weights are.
// Throws std::bad_alloc, std::runtime_error when the system gives fewer threads.
MachinePeaks probe(const KernelTable& kernels, int threads, int64_t buffer_bytes, double seconds);
}  // namespace wayra
