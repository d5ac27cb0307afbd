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
// e^x, relative error below 2e-7; exactly 1 at 0; arguments are clamped to the range of normal floats.
// Source: Cody and Waite range reduction, degree-6 polynomial.
inline F exp(F x) {
  const F clamped = min(max(x, set1(-87.33f)), set1(88.37f));
  const I n = round_to_int(mul(clamped, set1(1.44269504088896341f)));
  const F nf = to_float(n);
  F r = fma(nf, set1(-0.693359375f), clamped);
  r = fma(nf, set1(2.12194440e-4f), r);
  F p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = fma(p, mul(r, r), add(r, set1(1.0f)));
  return mul(p, pow2(n));
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
