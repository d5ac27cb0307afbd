// Picks the sixteen-lane vocabulary of the instruction set this library is compiled for, and adds what all share.
#pragma once
#if defined(WAYRA_AVX512)
#include "ops/simd_avx512.h"
#elif defined(WAYRA_AVX2)
#include "ops/simd_avx2.h"
#else
#include "ops/simd_portable.h"
#endif

#include <limits>

#include "core/abi.h"

namespace simd {
// e^x, relative error below 2e-7; exactly 1 at 0. Source: Cody and Waite range reduction, degree-6 polynomial.
inline F exp(F x) {
  const F y = min(max(x, set1(-104.0f)), set1(89.0f));  // beyond, the result is 0 or infinity
  const F n = round(mul(y, set1(1.44269504088896341f)));
  F r = fma(n, set1(-0.693359375f), y);
  r = fma(n, set1(2.12194440e-4f), r);
  F p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = fma(p, mul(r, r), add(r, set1(1.0f)));
  return scale_by_pow2(p, n);
}

// 2^x for x <= 0, relative error below 2e-7; exactly 1 at 0. Minimax polynomial on [-1/2, 1/2].
inline F exp2(F x) {
  const F n = round(x);
  const F r = sub(x, n);
  F p = set1(1.32647e-3f);
  p = fma(p, r, set1(9.67151e-3f));
  p = fma(p, r, set1(5.550734e-2f));
  p = fma(p, r, set1(0.24022242f));
  p = fma(p, r, set1(0.69314698f));
  return scale_by_pow2(fma(p, r, set1(1.0f)), n);
}

// The same to eight bits: relative error below 1.1e-4 down to 2^-125, which it does not fall below. Rounding by adding
// a large number and scaling by an addition to the exponent leave the multipliers alone: half the time of exp2.
inline F exp2_rough(F x) {
  const F large = set1(0x1.8p23f);    // a sum with it has the nearest integer in its lowest bits
  const F y = max(set1(-125.0f), x);  // in this order NaN stays NaN
  const F shifted = add(y, large);
  const F r = sub(y, sub(shifted, large));
  F p = set1(5.500886e-2f);
  p = fma(p, r, set1(0.24221098f));
  p = fma(p, r, set1(0.69328294f));
  return add_to_exponent(fma(p, r, set1(1.0f)), shifted);
}

// KV and weight element types: how sixteen of them become floats and back.
struct AsF32 {
  using T = float;
  static F get(const T* p) { return load(p); }
};
struct AsF16 {
  using T = uint16_t;
  static F get(const T* p) { return load_f16(p); }
};
struct AsBF16 {
  using T = uint16_t;
  static F get(const T* p) { return load_bf16(p); }
};
}  // namespace simd
