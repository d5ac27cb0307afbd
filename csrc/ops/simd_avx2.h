// Sixteen lanes on AVX2 + FMA + F16C: two registers each.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace simd {
constexpr int kMaxRows = 4;
constexpr int kAccumulators = 4;
constexpr int kStreamRows = 2;
constexpr const char* kName = "avx2";

struct F {
  __m256 a, b;
};
struct I {
  __m256i a, b;
};
using B = I;

using Sums = I;  // what a loop carries integer sums in
inline Sums as_sums(I v) { return v; }
inline I as_ints(Sums v) { return v; }

inline F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, F v) {
  _mm256_storeu_ps(p, v.a);
  _mm256_storeu_ps(p + 8, v.b);
}
inline void store_first(float* p, F v, int n) {
  alignas(32) float t[16];
  store(t, v);
  std::memcpy(p, t, static_cast<size_t>(n) * sizeof(float));
}
inline F load_first(const float* p, int n) {
  alignas(32) float t[16] = {};
  std::memcpy(t, p, static_cast<size_t>(n) * sizeof(float));
  return load(t);
}
inline F set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline F add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline F sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
inline F mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline F div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline F fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
inline F max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
inline F min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
inline F abs(F x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
inline __m128i half_of(const void* p, int i) { return _mm_loadu_si128(static_cast<const __m128i*>(p) + i); }
inline F load_f16(const uint16_t* p) { return {_mm256_cvtph_ps(half_of(p, 0)), _mm256_cvtph_ps(half_of(p, 1))}; }
inline F load_bf16(const uint16_t* p) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half_of(p, 0)), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half_of(p, 1)), 16))};
}
inline void store_f16(uint16_t* p, F v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p) + 1, _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT));
}
inline __m256i bf16_half(__m256 v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  return _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, nan), 16);
}
// Sixteen floats to bfloat16, ties to even; NaN stays NaN.
inline __m256i to_bf16(F v) {
  return _mm256_permute4x64_epi64(_mm256_packus_epi32(bf16_half(v.a), bf16_half(v.b)), 0xd8);
}
inline void store_bf16(void* p, F v) { _mm256_storeu_si256(static_cast<__m256i*>(p), to_bf16(v)); }
// Thirty-two of them.
inline B to_bf16(F first, F second) { return {to_bf16(first), to_bf16(second)}; }
inline void store_bytes(void* p, B v) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), v.a);
  _mm256_storeu_si256(static_cast<__m256i*>(p) + 1, v.b);
}
inline float reduce_add(F v) {
  const __m256 s = _mm256_add_ps(v.a, v.b);
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
inline float reduce_max(F v) {
  const __m256 s = _mm256_max_ps(v.a, v.b);
  const __m128 b = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_shuffle_ps(c, c, 1)));
}

inline I set1i(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline I zeroi() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline I addi(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
template <int N>
inline I slli(I x) {
  return {_mm256_slli_epi32(x.a, N), _mm256_slli_epi32(x.b, N)};
}
template <int N>
inline I srai(I x) {
  return {_mm256_srai_epi32(x.a, N), _mm256_srai_epi32(x.b, N)};
}
inline I subi(I x, I y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
inline F to_float(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
inline I round_to_int(F x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
inline I load_u8(const uint8_t* p) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))};
}
inline I load_s8(const int8_t* p) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))};
}
inline void store_s8(int8_t* p, I v) {
  const __m256i w = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.a, v.b), 0xd8);
  const __m128i b = _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), b);
}
inline int32_t reduce_addi(I v) {
  const __m256i s = _mm256_add_epi32(v.a, v.b);
  __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
  t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}
// Thirty-two integers of eight bits to memory, and the sum of each sixteen.
inline void store_and_sum(int8_t* p, I low, I high, int32_t sums[2]) {
  store_s8(p, low);
  store_s8(p + 16, high);
  sums[0] = reduce_addi(low);
  sums[1] = reduce_addi(high);
}
// Lane i becomes lane i ^ H.
template <int H>
inline F swap_lanes(F v) {
  if constexpr (H == 1) return {_mm256_permute_ps(v.a, 0xb1), _mm256_permute_ps(v.b, 0xb1)};
  if constexpr (H == 2) return {_mm256_permute_ps(v.a, 0x4e), _mm256_permute_ps(v.b, 0x4e)};
  if constexpr (H == 4) return {_mm256_permute2f128_ps(v.a, v.a, 1), _mm256_permute2f128_ps(v.b, v.b, 1)};
  if constexpr (H == 8) return {v.b, v.a};
}
inline __m256 round_half(__m256 v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F round(F x) { return {round_half(x.a), round_half(x.b)}; }
// v * 2^n for integral n in two steps, so that n may leave the range of exponents by a little.
inline __m256 scale_half(__m256 v, __m256 n) {
  const __m256i all = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(n, _mm256_set1_ps(250)), _mm256_set1_ps(-250)));
  const __m256i half = _mm256_srai_epi32(all, 1);
  const auto pow2 = [](__m256i e) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23));
  };
  return _mm256_mul_ps(_mm256_mul_ps(v, pow2(half)), pow2(_mm256_sub_epi32(all, half)));
}
inline F scale_by_pow2(F v, F n) { return {scale_half(v.a, n.a), scale_half(v.b, n.b)}; }
inline F add_to_exponent(F v, F bits) {
  const auto half = [](__m256 x, __m256 n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
  };
  return {half(v.a, bits.a), half(v.b, bits.b)};
}

inline B load_bytes(const uint8_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p) + 1)};
}
inline B and_bytes(B x, uint8_t m) {
  const __m256i v = _mm256_set1_epi8(static_cast<char>(m));
  return {_mm256_and_si256(x.a, v), _mm256_and_si256(x.b, v)};
}
inline B or_bytes(B x, B y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
template <int N>
inline B shift_right(B x) {
  return {_mm256_srli_epi16(x.a, N), _mm256_srli_epi16(x.b, N)};
}
template <int N>
inline B shift_left(B x) {
  return {_mm256_slli_epi16(x.a, N), _mm256_slli_epi16(x.b, N)};
}
inline __m256i four_of(const int8_t* a) {
  int32_t four;
  std::memcpy(&four, a, 4);
  return _mm256_set1_epi32(four);
}
inline __m256i dot_half(__m256i acc, __m256i codes, __m256i a) {
  // Codes of at most 63 keep the pairwise sums below 2^15, so maddubs cannot saturate.
  const __m256i pairs = _mm256_maddubs_epi16(codes, a);
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline I dot(I acc, B codes, const int8_t* a) {
  const __m256i v = four_of(a);
  return {dot_half(acc.a, codes.a, v), dot_half(acc.b, codes.b, v)};
}
// Eight-bit codes would saturate maddubs; their signed value is dotted through |w| and sign(a, w), so no offset is
// left.
inline I dot8_init(int32_t) { return zeroi(); }
inline __m256i dot8_half(__m256i acc, __m256i codes, __m256i a) {
  const __m256i w = _mm256_xor_si256(codes, _mm256_set1_epi8(static_cast<char>(0x80)));
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline I dot8(I acc, B codes, const int8_t* a) {
  const __m256i v = four_of(a);
  return {dot8_half(acc.a, codes.a, v), dot8_half(acc.b, codes.b, v)};
}

// acc + dot of the two bfloat16 of each lane with the two of `pair` (the lower half is the earlier element).
inline __m256 dot_bf16_half(__m256 acc, __m256i pairs, __m256 low, __m256 high) {
  const __m256 l = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
  const __m256 h = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int32_t>(0xffff0000u))));
  return _mm256_fmadd_ps(h, high, _mm256_fmadd_ps(l, low, acc));
}
inline F dot_bf16(F acc, B pairs, uint32_t pair) {
  const __m256 low = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int32_t>(pair << 16)));
  const __m256 high = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int32_t>(pair & 0xffff0000u)));
  return {dot_bf16_half(acc.a, pairs.a, low, high), dot_bf16_half(acc.b, pairs.b, low, high)};
}
inline F low_bf16(B pairs) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs.a, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(pairs.b, 16))};
}
inline F high_bf16(B pairs) {
  const __m256i high = _mm256_set1_epi32(static_cast<int32_t>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(pairs.a, high)), _mm256_castsi256_ps(_mm256_and_si256(pairs.b, high))};
}
// acc + dot of the two words of each lane with the two at a.
inline I dot_words(I acc, B pairs, const int16_t* a) {
  int32_t both;
  std::memcpy(&both, a, 4);
  const __m256i v = _mm256_set1_epi32(both);
  return {_mm256_add_epi32(acc.a, _mm256_madd_epi16(pairs.a, v)),
          _mm256_add_epi32(acc.b, _mm256_madd_epi16(pairs.b, v))};
}
// Thirty-two integers of eight bits as words.
inline B load_as_words(const int8_t* p) {
  return {_mm256_cvtepi8_epi16(half_of(p, 0)), _mm256_cvtepi8_epi16(half_of(p, 1))};
}
inline void store_s16(int16_t* p, I v) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.a, v.b), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), words);
}
inline B and_lanes(B x, uint32_t mask) {
  const __m256i m = _mm256_set1_epi32(static_cast<int32_t>(mask));
  return {_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}

inline F select_range(F v, int lo, int hi, float other) {
  const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i high = _mm256_add_epi32(low, _mm256_set1_epi32(8));
  const __m256i from = _mm256_set1_epi32(lo - 1);
  const __m256i to = _mm256_set1_epi32(hi);
  const __m256 o = _mm256_set1_ps(other);
  const auto pick = [&](__m256 x, __m256i i) {
    const __m256i in = _mm256_and_si256(_mm256_cmpgt_epi32(i, from), _mm256_cmpgt_epi32(to, i));
    return _mm256_blendv_ps(o, x, _mm256_castsi256_ps(in));
  };
  return {pick(v.a, low), pick(v.b, high)};
}
inline uint32_t greater(F x, F y) {
  const int a = _mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ));
  const int b = _mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ));
  return static_cast<uint32_t>(a) | (static_cast<uint32_t>(b) << 8);
}
}  // namespace simd
