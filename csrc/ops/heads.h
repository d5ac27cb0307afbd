// One head's query, key or value on its way to integers.
//
// Keys have a few dimensions that are far larger than the rest, and one scale for all would leave the rest few of the
// 255 steps of eight bits. So keys and queries are both multiplied with a Hadamard matrix, which spreads every
// dimension over all and leaves dot products as they are. Source: QuaRot (Ashkboos et al. 2024).
#pragma once
#include <algorithm>
#include <limits>

#include "ops/simd.h"

namespace wayra {

// Largest integers of a key's words and of a value's: ops/cached.h.
constexpr int kKeySteps = 8191, kValueSteps = 4095;

// One stage within vectors: lane i becomes x[i] + x[i ^ H], or x[i ^ H] - x[i] where bit H of i is set.
template <int H>
inline simd::F butterfly(simd::F x) {
  alignas(64) static constexpr auto kSigns = [] {
    struct {
      float of[kLanes];
    } signs{};
    for (int i = 0; i < kLanes; ++i) signs.of[i] = i & H ? -1.0f : 1.0f;
    return signs;
  }();
  return simd::fma(x, simd::load(kSigns.of), simd::swap_lanes<H>(x));
}

// The order of the Hadamard matrices that fit into a head side by side: the largest power of two that divides it, and
// no more than registers hold.
constexpr int turn_len(int head_dim) {
  const int divisor = head_dim & -head_dim;
  return divisor < 8 * kLanes ? divisor : 8 * kLanes;
}

inline simd::F load_head(const float* x, int i, int head_dim) {
  return head_dim - i >= kLanes ? simd::load(x + i) : simd::load_first(x + i, head_dim - i);
}

// Each 16 N numbers of x [head_dim] times a Hadamard matrix of that order.
template <int N>
inline void turn_vectors(float* x, int head_dim) {
  for (int i = 0; i < head_dim; i += N * kLanes) {
    simd::F v[N];
    for (int n = 0; n < N; ++n) {
      v[n] = butterfly<8>(butterfly<4>(butterfly<2>(butterfly<1>(simd::load(x + i + n * kLanes)))));
    }
    for (int h = 1; h < N; h *= 2) {
      for (int n = 0; n < N; ++n) {
        if (n & h) continue;
        const simd::F sum = simd::add(v[n], v[n + h]);
        v[n + h] = simd::sub(v[n], v[n + h]);
        v[n] = sum;
      }
    }
    for (int n = 0; n < N; ++n) simd::store(x + i + n * kLanes, v[n]);
  }
}

// The same with an order below 16.
inline void turn_lanes(float* x, int head_dim, int len) {
  for (int i = 0; i < head_dim; i += kLanes) {
    simd::F v = load_head(x, i, head_dim);
    if (len > 1) v = butterfly<1>(v);
    if (len > 2) v = butterfly<2>(v);
    if (len > 4) v = butterfly<4>(v);
    if (head_dim - i >= kLanes) {
      simd::store(x + i, v);
    } else {
      simd::store_first(x + i, v, head_dim - i);
    }
  }
}

// Multiplies a query or key x [head_dim] with Hadamard matrices of order turn_len; their rows are not of length one but
// of its square root.
inline void turn(float* x, int head_dim) {
  switch (turn_len(head_dim) / kLanes) {
    case 8: return turn_vectors<8>(x, head_dim);
    case 4: return turn_vectors<4>(x, head_dim);
    case 2: return turn_vectors<2>(x, head_dim);
    case 1: return turn_vectors<1>(x, head_dim);
    default: return turn_lanes(x, head_dim, turn_len(head_dim));
  }
}

// Whose largest magnitude lies outside becomes zeros: below, steps over it may be no float any more.
constexpr float kSmallestHead = 1e-30f, kLargestHead = std::numeric_limits<float>::max();

// The largest magnitude of x [head_dim], zero where the head becomes zeros.
inline float largest_of_head(const float* x, int head_dim) {
  simd::F most = simd::zero();
  for (int i = 0; i < head_dim; i += kLanes) most = simd::max(most, simd::abs(load_head(x, i, head_dim)));
  const float largest = simd::reduce_max(most);
  return largest >= kSmallestHead && largest <= kLargestHead ? largest : 0.0f;
}

// What a head was rounded to: its scale, and lanes whose sum is that of its integers.
struct Rounded {
  float scale;
  simd::I sums;
};

// Integers of x [head_dim] with one scale: the largest is 127. out has room up to a whole vector, of which what lies
// beyond the head becomes zero.
inline Rounded round_head(const float* x, int head_dim, int8_t* out) {
  const float largest = largest_of_head(x, head_dim);
  const simd::F factor = simd::set1(largest > 0.0f ? 127.0f / largest : 0.0f);
  simd::I sums = simd::zeroi();
  for (int i = 0; i < head_dim; i += kLanes) {
    const simd::F scaled = simd::mul(load_head(x, i, head_dim), factor);
    const simd::I rounded = largest > 0.0f ? simd::round_to_int(scaled) : simd::zeroi();
    simd::store_s8(out + i, rounded);
    sums = simd::addi(sums, rounded);
  }
  return {largest / 127.0f, sums};
}

// The same times `factor` to words; zeros where that is zero.
inline void round_words(const float* x, int head_dim, float factor, int16_t* out) {
  const simd::F f = simd::set1(factor);
  for (int i = 0; i < head_dim; i += kLanes) {
    const simd::F scaled = simd::mul(load_head(x, i, head_dim), f);
    simd::store_s16(out + i, factor > 0.0f ? simd::round_to_int(scaled) : simd::zeroi());
  }
}

// Words of a key or a value: the largest is `steps`. Returns the scale.
inline float round_head_words(const float* x, int head_dim, int steps, int16_t* out) {
  const float largest = largest_of_head(x, head_dim);
  round_words(x, head_dim, largest > 0.0f ? static_cast<float>(steps) / largest : 0.0f, out);
  return largest / static_cast<float>(steps);
}

// Words of a query: as large as the sum of its products with a key's, below 2^31, allows. Returns the scale.
inline float round_query_words(const float* x, int head_dim, int16_t* out) {
  // Rounding adds half a step a dimension at most; as much again for the rounding of the sum.
  constexpr auto kMost = static_cast<float>(std::numeric_limits<int32_t>::max() / kKeySteps - kMaxHeadDim);
  simd::F most = simd::zero(), sums = simd::zero();
  for (int i = 0; i < head_dim; i += kLanes) {
    const simd::F size = simd::abs(load_head(x, i, head_dim));
    most = simd::max(most, size);
    sums = simd::add(sums, size);
  }
  const float largest = simd::reduce_max(most), sum = simd::reduce_add(sums);
  const bool usable = largest >= kSmallestHead && sum <= kLargestHead;
  const float factor = usable ? std::min(32767.0f / largest, kMost / sum) : 0.0f;
  round_words(x, head_dim, factor, out);
  return usable ? 1.0f / factor : 0.0f;
}

}  // namespace wayra
