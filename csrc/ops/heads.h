// One head's query, key or value on its way to integers of eight bits.
//
// Keys have a few dimensions that are far larger than the rest, and one scale for all would leave the rest few of the
// 255 steps. So keys and queries are both multiplied with a Hadamard matrix, which spreads every dimension over all and
// leaves dot products as they are. Source: QuaRot (Ashkboos et al. 2024).
#pragma once
#include <limits>

#include "ops/simd.h"

namespace wayra {

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

// What a head was rounded to: its scale, and lanes whose sum is that of its integers.
struct Rounded {
  float scale;
  simd::I sums;
};

// Integers of x [head_dim] with one scale: the largest is 127. out has room up to a whole vector, of which what lies
// beyond the head becomes zero.
inline Rounded round_head(const float* x, int head_dim, int8_t* out) {
  constexpr float kSmallest = 1e-30f;  // below it 127 / max|x| may be no float any more; such a head becomes zeros
  simd::F most = simd::zero();
  for (int i = 0; i < head_dim; i += kLanes) most = simd::max(most, simd::abs(load_head(x, i, head_dim)));
  const float largest = simd::reduce_max(most);
  const bool usable = largest >= kSmallest && largest <= std::numeric_limits<float>::max();
  const simd::F factor = simd::set1(usable ? 127.0f / largest : 0.0f);
  simd::I sums = simd::zeroi();
  for (int i = 0; i < head_dim; i += kLanes) {
    const simd::F scaled = simd::mul(load_head(x, i, head_dim), factor);
    const simd::I rounded = usable ? simd::round_to_int(scaled) : simd::zeroi();
    simd::store_s8(out + i, rounded);
    sums = simd::addi(sums, rounded);
  }
  return {usable ? largest / 127.0f : 0.0f, sums};
}

}  // namespace wayra
