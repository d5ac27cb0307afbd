// Residual addition and RMSNorm of one row, and the quantisation of a row of activations.
#include <cmath>

#include "ops/kernels.h"
#include "ops/simd.h"

namespace wayra {
using simd::F;
using simd::I;

namespace {
// Below this, steps / max|x| may be no float any more; such a group adds nothing to any sum and becomes zeros.
constexpr float kSmallest = 1e-34f;

// An integer of 15 bits as 128 * high + low.
void store_halves(I v, int8_t* high, int8_t* low) {
  const I upper = simd::srai<7>(simd::addi(v, simd::set1i(64)));
  simd::store_s8(high, upper);
  simd::store_s8(low, simd::subi(v, simd::slli<7>(upper)));
}
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

// Integers with one scale for 32 values: scale = max|x| / steps, q = round-half-even(x * steps / max|x|); 127 steps in
// int8, 127 * 128 in the finer form.
void quantise(const ActRows& x, int64_t row, const float* src, int32_t group_begin, int32_t group_end) {
  const float steps = x.low ? 127.0f * 128.0f : 127.0f;
  for (int32_t g = group_begin; g < group_end; ++g) {
    const float* s = src + g * kGroup;
    const int64_t at = x.at(row, g);
    int8_t* q = x.q + at * kGroup;
    const F a = simd::load(s), b = simd::load(s + kLanes);
    const float largest = simd::reduce_max(simd::max(simd::abs(a), simd::abs(b)));
    // A group with an infinity becomes zeros; it stays visible in the logits of other paths.
    const bool usable = largest >= kSmallest && largest <= std::numeric_limits<float>::max();
    const F factor = simd::set1(usable ? steps / largest : 0.0f);
    const float scale = usable ? largest / steps : 0.0f;
    const I low = usable ? simd::round_to_int(simd::mul(a, factor)) : simd::zeroi();
    const I high = usable ? simd::round_to_int(simd::mul(b, factor)) : simd::zeroi();
    int32_t sums[2];
    if (x.low) {
      store_halves(low, q, x.low + at * kGroup);
      store_halves(high, q + kLanes, x.low + at * kGroup + kLanes);
      sums[0] = simd::reduce_addi(low);
      sums[1] = simd::reduce_addi(high);
    } else {
      simd::store_and_sum(q, low, high, sums);
    }
    const int32_t sum = sums[0] + sums[1];
    x.scale[at] = scale;
    x.sum[at] = scale * static_cast<float>(sum);
    x.neg_sum[at] = -sum;
    x.neg_sum16[2 * at] = -sums[0];
    x.neg_sum16[2 * at + 1] = -sums[1];
  }
}
}  // namespace wayra
