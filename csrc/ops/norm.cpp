// Residual addition and RMSNorm of one row.
#include <cmath>

#include "ops/kernels.h"
#include "ops/simd.h"

namespace wayra {
using simd::F;

// Source: Zhang and Sennrich 2019. The sum of squares is accumulated a lane at a time, then folded in a fixed tree.
void add_rms_norm(float* x, const float* delta, const float* weight, float eps, int32_t n, float* h) {
  const int whole = n / kLanes * kLanes;
  F squares = simd::zero();
  for (int i = 0; i < whole; i += kLanes) {
    F v = simd::load(x + i);
    if (delta) {
      v = simd::add(v, simd::load(delta + i));
      simd::store(x + i, v);
    }
    squares = simd::fma(v, v, squares);
  }
  float sum = simd::reduce_add(squares);
  for (int i = whole; i < n; ++i) {
    if (delta) x[i] += delta[i];
    sum += x[i] * x[i];
  }
  const float factor = 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
  for (int i = 0; i < whole; i += kLanes) {
    simd::store(h + i, simd::mul(simd::mul(simd::load(x + i), simd::set1(factor)), simd::load(weight + i)));
  }
  for (int i = whole; i < n; ++i) h[i] = x[i] * factor * weight[i];
}

}  // namespace wayra
