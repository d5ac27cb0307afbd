// A row of activations in the forms that products take.
#include <algorithm>
#include <cstring>
#include <limits>

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

// Integers with one scale for 32 values: scale = max|x| / steps, q = round-half-even(x * steps / max|x|).
struct Integers {
  I low, high;
  float scale;

  Integers(F a, F b, float steps) {
    const float largest = simd::reduce_max(simd::max(simd::abs(a), simd::abs(b)));
    // A group with an infinity becomes zeros; it stays visible in the logits of other paths.
    const bool usable = largest >= kSmallest && largest <= std::numeric_limits<float>::max();
    const F factor = simd::set1(usable ? steps / largest : 0.0f);
    scale = usable ? largest / steps : 0.0f;
    low = usable ? simd::round_to_int(simd::mul(a, factor)) : simd::zeroi();
    high = usable ? simd::round_to_int(simd::mul(b, factor)) : simd::zeroi();
  }
};

// 127 steps in int8, 127 * 128 in the finer form.
void put_int8(const ActRows& x, int64_t at, F a, F b) {
  const Integers v(a, b, x.low ? 127.0f * 128.0f : 127.0f);
  int8_t* q = x.q + at * kGroup;
  int32_t sums[2];
  if (x.low) {
    store_halves(v.low, q, x.low + at * kGroup);
    store_halves(v.high, q + kLanes, x.low + at * kGroup + kLanes);
    sums[0] = simd::reduce_addi(v.low);
    sums[1] = simd::reduce_addi(v.high);
  } else {
    simd::store_and_sum(q, v.low, v.high, sums);
  }
  // A not-a-number becomes the least integer: sums may wrap.
  const uint32_t halves[2] = {static_cast<uint32_t>(sums[0]), static_cast<uint32_t>(sums[1])};
  const uint32_t sum = halves[0] + halves[1];
  x.scale[at] = v.scale;
  x.sum[at] = v.scale * static_cast<float>(static_cast<int32_t>(sum));
  x.neg_sum[at] = static_cast<int32_t>(0u - sum);
  x.neg_sum16[2 * at] = static_cast<int32_t>(0u - halves[0]);
  x.neg_sum16[2 * at + 1] = static_cast<int32_t>(0u - halves[1]);
}

// The eight leading bits of a positive v: what is left when sums differ in the last.
float leading_bits(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  bits &= 0xffff0000u;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

// Up to 16 bits: as large as the sum of a group's products with a weight's words leaves below 2^31. Rounding adds half
// a step a value at most, for which 2^31 / kWordSteps leaves room.
void put_words(const ActRows& x, int64_t at, F a, F b) {
  constexpr auto kMost = static_cast<float>(kGroup * kWordSteps);
  const F size_a = simd::abs(a), size_b = simd::abs(b);
  const float largest = simd::reduce_max(simd::max(size_a, size_b));
  const float sum = simd::reduce_add(simd::add(size_a, size_b));
  const bool usable = largest >= kSmallest && sum <= std::numeric_limits<float>::max();
  const float factor = usable ? leading_bits(std::min(32767.0f / largest, kMost / sum)) : 0.0f;
  const auto rounded = [&](F v) {
    return usable ? simd::round_to_int(simd::mul(v, simd::set1(factor))) : simd::zeroi();
  };
  simd::store_s16(x.words + at * kGroup, rounded(a));
  simd::store_s16(x.words + at * kGroup + kLanes, rounded(b));
  x.word_scale[at] = usable ? 1.0f / factor : 0.0f;
}

#if defined(WAYRA_AVX512)
// put_int8 of eight rows: their maxima, divisions and sums lie side by side.
void put_int8_tile(const ActRows& x, int64_t at, const float* src, int64_t stride) {
  F largest[kTileRows];
  for (int r = 0; r < kTileRows; ++r) {
    const float* s = src + r * stride;
    largest[r] = simd::max(simd::abs(simd::load(s)), simd::abs(simd::load(s + kLanes)));
  }
  const F most = simd::max_of_rows(largest), steps = simd::set1(127.0f);
  constexpr float kLargest = std::numeric_limits<float>::max();
  const F factor = simd::keep_within(simd::div(steps, most), most, kSmallest, kLargest);
  const F scale = simd::keep_within(simd::div(most, steps), most, kSmallest, kLargest);
  int8_t* q = x.q + at * kGroup;
  for (int r = 0; r < kTileRows; ++r) {
    const float* s = src + r * stride;
    const F f = simd::lane(factor, simd::kLaneOfRow[r]);
    const auto rounded = [&](const float* p) { return simd::round_to_int(simd::mul(simd::load(p), f)); };
    simd::store_s8(q + r * kGroup, rounded(s), rounded(s + kLanes));
  }
  simd::store_rows(x.scale + at, scale);
  const F sums = simd::store_negative_sums(q, x.neg_sum16 + 2 * at, x.neg_sum + at);
  simd::store_rows(x.sum + at, simd::mul(scale, sums));
}
#endif
}  // namespace

void quantise(const ActRows& x, int64_t row, const float* src, int32_t group_begin, int32_t group_end) {
  for (int32_t g = group_begin; g < group_end; ++g) {
    const float* s = src + g * kGroup;
    const int left = x.cols - g * kGroup;
    const bool whole = left >= kGroup;
    const F a = whole ? simd::load(s) : simd::load_first(s, std::min(left, kLanes));
    const F b = whole ? simd::load(s + kLanes) : simd::load_first(s + kLanes, std::max(left - kLanes, 0));
    const int64_t at = x.at(row, g);
    if (x.q) put_int8(x, at, a, b);
    if (x.words) put_words(x, at, a, b);
    if (x.bf16) {
      simd::store_bf16(x.bf16 + at * kGroup, a);
      simd::store_bf16(x.bf16 + at * kGroup + kLanes, b);
    }
  }
}

void quantise_tile(const ActRows& x, int64_t row, const float* src, int64_t src_stride, int32_t group_begin,
                   int32_t group_end) {
#if defined(WAYRA_AVX512)
  if (x.q && !x.low && !x.words && !x.bf16) {
    for (int32_t g = group_begin; g < group_end; ++g) put_int8_tile(x, x.at(row, g), src + g * kGroup, src_stride);
    return;
  }
#endif
  for (int r = 0; r < kTileRows; ++r) quantise(x, row + r, src + r * src_stride, group_begin, group_end);
}
}  // namespace wayra
