// Residual addition and RMSNorm of one row, and the quantisation of a row of activations.
#include <cmath>

#include "ops/kernels.h"
#include "ops/simd.h"

namespace wayra {
using simd::F;
using simd::I;

namespace {
// Below this, 127 / max|x| is no float any more; such a group adds nothing to any sum and becomes zeros.
constexpr float kSmallest = 1e-36f;

// Keeps what is no number (broken weights) from becoming an undefined integer; it changes nothing else.
F within_int8(F x) { return simd::min(simd::max(x, simd::set1(-127.0f)), simd::set1(127.0f)); }
}  // namespace

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

// int8 with one scale for 32 values: scale = max|x| / 127, q = round-half-even(x * 127 / max|x|).
void quantise(const ActRows& x, int64_t row, const float* src, int32_t group_begin, int32_t group_end) {
  for (int32_t g = group_begin; g < group_end; ++g) {
    const float* s = src + g * kGroup;
    int8_t* q = x.q + row * x.cols + g * kGroup;
    const int64_t at = row * x.groups + g;
    const F a = simd::load(s), b = simd::load(s + kLanes);
    const float largest = simd::reduce_max(simd::max(simd::abs(a), simd::abs(b)));
    // A group with an infinity becomes zeros; it stays visible in the logits of other paths.
    const bool usable = largest >= kSmallest && largest <= std::numeric_limits<float>::max();
    const F factor = simd::set1(usable ? 127.0f / largest : 0.0f);
    const float scale = usable ? largest / 127.0f : 0.0f;
    const I low = usable ? simd::round_to_int(within_int8(simd::mul(a, factor))) : simd::zeroi();
    const I high = usable ? simd::round_to_int(within_int8(simd::mul(b, factor))) : simd::zeroi();
    simd::store_s8(q, low);
    simd::store_s8(q + kLanes, high);
    const int32_t sum_low = simd::reduce_addi(low), sum_high = simd::reduce_addi(high);
    x.scale[at] = scale;
    x.sum[at] = scale * static_cast<float>(sum_low + sum_high);
    x.neg_sum[at] = -(sum_low + sum_high);
    x.neg_sum16[2 * at] = -sum_low;
    x.neg_sum16[2 * at + 1] = -sum_high;
  }
}
}  // namespace wayra
