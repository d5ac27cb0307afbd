// silu(gate) * up.
#include "ops/kernels.h"
#include "ops/simd.h"

namespace wayra {
using simd::F;

// Source: Shazeer 2020. silu(x) = x / (1 + e^-x).
void swiglu(const float* gate, const float* up, int32_t n, float* out) {
  const F one = simd::set1(1.0f);
  const auto silu_times = [&](F g, F u) {
    const F e = simd::exp(simd::sub(simd::zero(), g));
    return simd::mul(simd::div(g, simd::add(one, e)), u);
  };
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    simd::store(out + i, silu_times(simd::load(gate + i), simd::load(up + i)));
  }
  if (i < n)
    simd::store_first(out + i, silu_times(simd::load_first(gate + i, n - i), simd::load_first(up + i, n - i)), n - i);
}
}  // namespace wayra
