// Sixteen lanes on AVX-512 with VNNI: one register each.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace simd {
constexpr int kAccumulators = 16;  // registers that a kernel's outputs may take
constexpr int kStreamRows = 4;     // rows up to which a kernel waits for memory rather than computes
constexpr int kMaxRows = 8;  // activation rows in a GEMM tile: 8 accumulators, 8 weight registers, room for temporaries
#if defined(__AVX512BF16__)
constexpr const char* kName = "avx512_bf16";
#else
constexpr const char* kName = "avx512";
#endif

using F = __m512;
using I = __m512i;
using B = __m512i;  // 64 bytes: lane r holds four consecutive k of row r

// What a loop carries integer sums in. The instructions that add to them take a vector of 32-bit integers, __m512i is
// one of 64-bit ones, and GCC copies every register twice a round where a loop carries the latter.
using Sums = int32_t __attribute__((vector_size(64)));
inline Sums as_sums(I v) { return reinterpret_cast<Sums>(v); }
inline I as_ints(Sums v) { return reinterpret_cast<I>(v); }

inline F load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, F v) { _mm512_storeu_ps(p, v); }
inline void store_first(float* p, F v, int n) { _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v); }
inline F load_first(const float* p, int n) { return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p); }
inline F set1(float x) { return _mm512_set1_ps(x); }
inline F zero() { return _mm512_setzero_ps(); }
inline F add(F a, F b) { return _mm512_add_ps(a, b); }
inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
inline F div(F a, F b) { return _mm512_div_ps(a, b); }
inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
inline F max(F a, F b) { return _mm512_max_ps(a, b); }
inline F min(F a, F b) { return _mm512_min_ps(a, b); }
inline F abs(F a) { return _mm512_abs_ps(a); }
inline F load_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline F load_bf16(const uint16_t* p) {
  const __m512i x = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
}
inline void store_f16(uint16_t* p, F v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
// Sixteen floats to bfloat16, ties to even; NaN stays NaN.
inline __m256i bf16_half(F v) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v));
#else
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __m512i r = _mm512_mask_mov_epi32(up, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
#endif
}
inline void store_bf16(void* p, F v) { _mm256_storeu_si256(static_cast<__m256i*>(p), bf16_half(v)); }
// Thirty-two of them in one register.
inline B to_bf16(F first, F second) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<B>(_mm512_cvtne2ps_pbh(second, first));
#else
  return _mm512_inserti64x4(_mm512_castsi256_si512(bf16_half(first)), bf16_half(second), 1);
#endif
}
inline void store_bytes(void* p, B v) { _mm512_storeu_si512(p, v); }
inline float reduce_add(F v) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
inline float reduce_max(F v) { return _mm512_reduce_max_ps(v); }

inline I set1i(int32_t x) { return _mm512_set1_epi32(x); }
inline I zeroi() { return _mm512_setzero_si512(); }
inline I addi(I a, I b) { return _mm512_add_epi32(a, b); }
template <int N>
inline I slli(I a) {
  return _mm512_slli_epi32(a, N);
}
template <int N>
inline I srai(I a) {
  return _mm512_srai_epi32(a, N);
}
inline I subi(I a, I b) { return _mm512_sub_epi32(a, b); }
inline F to_float(I a) { return _mm512_cvtepi32_ps(a); }
inline I round_to_int(F a) { return _mm512_cvtps_epi32(a); }
inline I load_u8(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline I load_s8(const int8_t* p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline void store_s8(int8_t* p, I v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v)); }
inline int32_t reduce_addi(I v) { return _mm512_reduce_add_epi32(v); }

inline B load_bytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
inline B and_bytes(B a, uint8_t m) { return _mm512_and_si512(a, _mm512_set1_epi8(static_cast<char>(m))); }
inline B or_bytes(B a, B b) { return _mm512_or_si512(a, b); }
template <int N>
inline B shift_right(B a) {
  return _mm512_srli_epi16(a, N);
}
template <int N>
inline B shift_left(B a) {
  return _mm512_slli_epi16(a, N);
}
// acc + dot of unsigned codes (at most 63) with the four activations at a.
inline I dot(I acc, B codes, const int8_t* a) {
  int32_t four;
  __builtin_memcpy(&four, a, 4);
  return _mm512_dpbusd_epi32(acc, codes, _mm512_set1_epi32(four));
}
// The same for eight-bit codes offset by 128; start from dot8_init.
inline I dot8_init(int32_t neg_sum) { return _mm512_slli_epi32(_mm512_set1_epi32(neg_sum), 7); }
inline I dot8(I acc, B codes, const int8_t* a) { return dot(acc, codes, a); }

// acc + dot of the two bfloat16 of each lane with the two of `pair` (the lower half is the earlier element).
inline F dot_bf16(F acc, B pairs, uint32_t pair) {
  const __m512i p = _mm512_set1_epi32(static_cast<int32_t>(pair));
#if defined(__AVX512BF16__)
  return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(pairs), reinterpret_cast<__m512bh>(p));
#else
  const __m512i high = _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u));
  const auto low_of = [](__m512i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)); };
  const auto high_of = [&](__m512i v) { return _mm512_castsi512_ps(_mm512_and_si512(v, high)); };
  return _mm512_fmadd_ps(high_of(pairs), high_of(p), _mm512_fmadd_ps(low_of(pairs), low_of(p), acc));
#endif
}
inline F low_bf16(B pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
inline F high_bf16(B pairs) {
  return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u))));
}
// acc + dot of the two words of each lane with the two at a.
inline I dot_words(I acc, B pairs, const int16_t* a) {
  int32_t both;
  __builtin_memcpy(&both, a, 4);
  return _mm512_dpwssd_epi32(acc, pairs, _mm512_set1_epi32(both));
}
// Thirty-two integers of eight bits as words.
inline B load_as_words(const int8_t* p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline void store_s16(int16_t* p, I v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(v)); }
inline B and_lanes(B v, uint32_t mask) { return _mm512_and_si512(v, _mm512_set1_epi32(static_cast<int32_t>(mask))); }
// Thirty-two integers of eight bits to memory, and the sum of each sixteen.
inline void store_and_sum(int8_t* p, I low, I high, int32_t sums[2]) {
  const __m256i q = _mm256_set_m128i(_mm512_cvtepi32_epi8(high), _mm512_cvtepi32_epi8(low));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), q);
  __m256i s = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), q);
  s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4e));
  s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xb1));
  sums[0] = _mm256_cvtsi256_si32(s);
  sums[1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(s, 1));
}

// Of a tile of eight rows the first four lie in the first quarter of a register and again in the second, the others in
// the third and the fourth.
constexpr int kLaneOfRow[8] = {0, 1, 2, 3, 8, 9, 10, 11};

// From four registers of four quarters each: in lane i of a quarter, that quarter of register i folded with f.
template <class V, class Lower, class Upper, class Fold>
inline V fold_quarters(const V v[4], Lower lower, Upper upper, Fold f) {
  const V t = f(lower(v[0], v[1]), upper(v[0], v[1]));
  const V u = f(lower(v[2], v[3]), upper(v[2], v[3]));
  const __m512i a = reinterpret_cast<__m512i>(t), b = reinterpret_cast<__m512i>(u);
  return f(reinterpret_cast<V>(_mm512_unpacklo_epi64(a, b)), reinterpret_cast<V>(_mm512_unpackhi_epi64(a, b)));
}

// The largest lane of each of eight rows.
inline F max_of_rows(const F rows[8]) {
  const auto half = [](F v) { return _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)); };
  F pairs[4];
  for (int i = 0; i < 4; ++i)
    pairs[i] = _mm512_insertf32x8(_mm512_castps256_ps512(half(rows[i])), half(rows[i + 4]), 1);
  const F folded = fold_quarters(
      pairs, [](F a, F b) { return _mm512_unpacklo_ps(a, b); }, [](F a, F b) { return _mm512_unpackhi_ps(a, b); },
      [](F a, F b) { return _mm512_max_ps(a, b); });
  return _mm512_max_ps(folded, _mm512_shuffle_f32x4(folded, folded, 0xb1));
}
inline F lane(F v, int i) { return _mm512_permutexvar_ps(_mm512_set1_epi32(i), v); }
// Lanes where lo <= v <= hi, elsewhere zero.
inline F keep_within(F v, F by, float lo, float hi) {
  const __mmask16 m = _mm512_cmp_ps_mask(by, set1(lo), _CMP_GE_OQ) & _mm512_cmp_ps_mask(by, set1(hi), _CMP_LE_OQ);
  return _mm512_maskz_mov_ps(m, v);
}
// One value a row to out[8].
inline void store_rows(float* out, F v) {
  _mm256_storeu_ps(out, _mm512_castps512_ps256(_mm512_permutexvar_ps(
                            _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 0, 0, 0, 0, 0, 0, 0, 0), v)));
}
// Minus the sums of eight rows of 32 integers of eight bits at q: of each half to halves[8][2], of both to whole[8].
// Returns the latter as a row's floats, positive.
inline F store_negative_sums(const int8_t* q, int32_t* halves, int32_t* whole) {
  I pairs[4];
  const I ones = _mm512_set1_epi8(1);
  for (int i = 0; i < 4; ++i) {
    const auto row = [&](int r) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q) + r); };
    const I both = _mm512_inserti64x4(_mm512_castsi256_si512(row(i)), row(i + 4), 1);
    pairs[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, both);
  }
  const I sums = fold_quarters(
      pairs, [](I a, I b) { return _mm512_unpacklo_epi32(a, b); }, [](I a, I b) { return _mm512_unpackhi_epi32(a, b); },
      [](I a, I b) { return _mm512_add_epi32(a, b); });
  const I negative = _mm512_sub_epi32(_mm512_setzero_si512(), sums);
  const I order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
  _mm512_storeu_si512(halves, _mm512_permutexvar_epi32(order, negative));
  const I total = _mm512_add_epi32(negative, _mm512_shuffle_i32x4(negative, negative, 0xb1));
  const I rows = _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 0, 0, 0, 0, 0, 0, 0, 0);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(whole), _mm512_castsi512_si256(_mm512_permutexvar_epi32(rows, total)));
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_setzero_si512(), total));
}
// Thirty-two integers of eight bits to memory.
inline void store_s8(int8_t* p, I low, I high) {
  const __m256i q = _mm256_set_m128i(_mm512_cvtepi32_epi8(high), _mm512_cvtepi32_epi8(low));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), q);
}
// Lane i becomes lane i ^ H.
template <int H>
inline F swap_lanes(F v) {
  if constexpr (H == 1) return _mm512_permute_ps(v, 0xb1);
  if constexpr (H == 2) return _mm512_permute_ps(v, 0x4e);
  if constexpr (H == 4) return _mm512_shuffle_f32x4(v, v, 0xb1);
  if constexpr (H == 8) return _mm512_shuffle_f32x4(v, v, 0x4e);
}
inline F round(F v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// v * 2^n for integral n, with overflow and underflow as they should be.
inline F scale_by_pow2(F v, F n) { return _mm512_scalef_ps(v, n); }
// v * 2^n for the integer n in the lowest nine bits of `bits`, of a normal result.
inline F add_to_exponent(F v, F bits) {
  const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(bits), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), n));
}

// Lanes lo <= i < hi of v, elsewhere `other`.
inline F select_range(F v, int lo, int hi, float other) {
  const uint32_t below_hi = hi >= 16 ? 0xffffu : hi <= 0 ? 0u : (1u << hi) - 1;
  const uint32_t below_lo = lo >= 16 ? 0xffffu : lo <= 0 ? 0u : (1u << lo) - 1;
  return _mm512_mask_mov_ps(_mm512_set1_ps(other), static_cast<__mmask16>(below_hi & ~below_lo), v);
}
// Bit i: a[i] > b[i].
inline uint32_t greater(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
}  // namespace simd
