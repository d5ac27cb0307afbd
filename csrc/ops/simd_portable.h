// Sixteen lanes in plain C++ loops: the definition the other two are tested against, and the build for every other CPU
// (compilers turn the loops into whatever vectors there are).
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace simd {
constexpr int kMaxRows = 4;
constexpr int kAccumulators = 4;
constexpr int kStreamRows = 0;
constexpr const char* kName = "portable";

struct F {
  float v[16];
};
struct I {
  int32_t v[16];
};
struct B {
  uint8_t v[64];
};

using Sums = I;  // what a loop carries integer sums in
inline Sums as_sums(const I& v) { return v; }
inline I as_ints(const Sums& v) { return v; }

template <class R, class Fn>
inline R lanes(Fn fn) {
  R r;
  for (int i = 0; i < 16; ++i) r.v[i] = fn(i);
  return r;
}
inline F load(const float* p) {
  F r;
  std::memcpy(r.v, p, sizeof r.v);
  return r;
}
inline void store(float* p, const F& x) { std::memcpy(p, x.v, sizeof x.v); }
inline void store_first(float* p, const F& x, int n) { std::memcpy(p, x.v, static_cast<size_t>(n) * sizeof(float)); }
inline F load_first(const float* p, int n) {
  F r{};
  std::memcpy(r.v, p, static_cast<size_t>(n) * sizeof(float));
  return r;
}
inline F set1(float x) {
  return lanes<F>([&](int) { return x; });
}
inline F zero() { return F{}; }
inline F add(const F& x, const F& y) {
  return lanes<F>([&](int i) { return x.v[i] + y.v[i]; });
}
inline F sub(const F& x, const F& y) {
  return lanes<F>([&](int i) { return x.v[i] - y.v[i]; });
}
inline F mul(const F& x, const F& y) {
  return lanes<F>([&](int i) { return x.v[i] * y.v[i]; });
}
inline F div(const F& x, const F& y) {
  return lanes<F>([&](int i) { return x.v[i] / y.v[i]; });
}
inline F fma(const F& x, const F& y, const F& z) {
  return lanes<F>([&](int i) { return x.v[i] * y.v[i] + z.v[i]; });
}
inline F max(const F& x, const F& y) {
  return lanes<F>([&](int i) { return x.v[i] > y.v[i] ? x.v[i] : y.v[i]; });
}
inline F min(const F& x, const F& y) {
  return lanes<F>([&](int i) { return x.v[i] < y.v[i] ? x.v[i] : y.v[i]; });
}
inline F abs(const F& x) {
  return lanes<F>([&](int i) { return std::fabs(x.v[i]); });
}
inline float from_bits(uint32_t bits) {
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
inline uint32_t to_bits(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  return bits;
}
inline float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t rest = h & 0x7fffu;
  if (rest >= 0x7c00u) return from_bits(sign | 0x7f800000u | ((rest & 0x3ffu) << 13));
  if (rest >= 0x400u) return from_bits(sign | ((rest << 13) + 0x38000000u));
  const float f = static_cast<float>(rest) * 0x1p-24f;
  return sign ? -f : f;
}
inline uint16_t float_to_half(float f) {
  const uint32_t bits = to_bits(f);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (rest >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (rest < 0x38800000u) {
    // Below the smallest normal half: adding a constant makes the FPU round at the right bit.
    const float t = from_bits(rest) + 0.5f;
    return static_cast<uint16_t>(sign | (to_bits(t) - 0x3f000000u));
  }
  const uint32_t odd = (rest >> 13) & 1u;
  return static_cast<uint16_t>(sign | ((rest + 0xc8000fffu + odd) >> 13));
}
inline F load_f16(const uint16_t* p) {
  return lanes<F>([&](int i) { return half_to_float(p[i]); });
}
inline F load_bf16(const uint16_t* p) {
  return lanes<F>([&](int i) { return from_bits(static_cast<uint32_t>(p[i]) << 16); });
}
inline void store_f16(uint16_t* p, const F& x) {
  for (int i = 0; i < 16; ++i) p[i] = float_to_half(x.v[i]);
}
inline uint16_t float_to_bf16(float f) {
  const uint32_t bits = to_bits(f);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
// Sixteen floats to bfloat16, ties to even; NaN stays NaN.
inline void store_bf16(void* p, const F& x) {
  uint16_t t[16];
  for (int i = 0; i < 16; ++i) t[i] = float_to_bf16(x.v[i]);
  std::memcpy(p, t, sizeof t);
}
// Thirty-two of them.
inline B to_bf16(const F& first, const F& second) {
  B r;
  store_bf16(r.v, first);
  store_bf16(r.v + 32, second);
  return r;
}
inline void store_bytes(void* p, const B& x) { std::memcpy(p, x.v, sizeof x.v); }
inline float reduce_add(const F& x) {
  float t[8];
  for (int i = 0; i < 8; ++i) t[i] = x.v[i] + x.v[i + 8];
  for (int i = 0; i < 4; ++i) t[i] += t[i + 4];
  return (t[0] + t[2]) + (t[1] + t[3]);
}
inline float reduce_max(const F& x) {
  float m = x.v[0];
  for (int i = 1; i < 16; ++i) m = x.v[i] > m ? x.v[i] : m;
  return m;
}

inline I set1i(int32_t x) {
  return lanes<I>([&](int) { return x; });
}
inline I zeroi() { return I{}; }
inline I addi(const I& x, const I& y) {
  return lanes<I>([&](int i) { return x.v[i] + y.v[i]; });
}
template <int N>
inline I slli(const I& x) {
  return lanes<I>([&](int i) { return x.v[i] * (1 << N); });
}
template <int N>
inline I srai(const I& x) {
  return lanes<I>([&](int i) { return x.v[i] >> N; });
}
inline I subi(const I& x, const I& y) {
  return lanes<I>([&](int i) { return x.v[i] - y.v[i]; });
}
inline F to_float(const I& x) {
  return lanes<F>([&](int i) { return static_cast<float>(x.v[i]); });
}
inline I round_to_int(const F& x) {
  // What is no number, and so no integer either, is zero.
  return lanes<I>([&](int i) { return std::fabs(x.v[i]) < 2e9f ? static_cast<int32_t>(std::nearbyint(x.v[i])) : 0; });
}
inline I load_u8(const uint8_t* p) {
  return lanes<I>([&](int i) { return static_cast<int32_t>(p[i]); });
}
inline I load_s8(const int8_t* p) {
  return lanes<I>([&](int i) { return static_cast<int32_t>(p[i]); });
}
inline void store_s8(int8_t* p, const I& x) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(x.v[i]);
}
inline int32_t reduce_addi(const I& x) {
  int32_t s = 0;
  for (int i = 0; i < 16; ++i) s += x.v[i];
  return s;
}
// Thirty-two integers of eight bits to memory, and the sum of each sixteen.
inline void store_and_sum(int8_t* p, const I& low, const I& high, int32_t sums[2]) {
  store_s8(p, low);
  store_s8(p + 16, high);
  sums[0] = reduce_addi(low);
  sums[1] = reduce_addi(high);
}
// Lane i becomes lane i ^ H.
template <int H>
inline F swap_lanes(const F& x) {
  return lanes<F>([&](int i) { return x.v[i ^ H]; });
}
inline F round(const F& x) {
  return lanes<F>([&](int i) { return std::nearbyint(x.v[i]); });
}
// v * 2^n for integral n, with overflow and underflow as they should be.
inline F scale_by_pow2(const F& v, const F& n) {
  return lanes<F>([&](int i) {
    const float e = n.v[i] > 250.0f ? 250.0f : n.v[i] < -250.0f ? -250.0f : n.v[i];
    const int all = e == e ? static_cast<int>(e) : 0;
    const int half = all / 2;
    const auto pow2 = [](int k) { return from_bits(static_cast<uint32_t>(k + 127) << 23); };
    return v.v[i] * pow2(half) * pow2(all - half);
  });
}
inline F add_to_exponent(const F& v, const F& bits) {
  return lanes<F>([&](int i) { return from_bits(to_bits(v.v[i]) + (to_bits(bits.v[i]) << 23)); });
}

inline B load_bytes(const uint8_t* p) {
  B r;
  std::memcpy(r.v, p, sizeof r.v);
  return r;
}
template <class Fn>
inline B bytes(Fn fn) {
  B r;
  for (int i = 0; i < 64; ++i) r.v[i] = static_cast<uint8_t>(fn(i));
  return r;
}
inline B and_bytes(const B& x, uint8_t m) {
  return bytes([&](int i) { return x.v[i] & m; });
}
inline B or_bytes(const B& x, const B& y) {
  return bytes([&](int i) { return x.v[i] | y.v[i]; });
}
template <int N>
inline B shift_right(const B& x) {
  return bytes([&](int i) { return x.v[i] >> N; });
}
template <int N>
inline B shift_left(const B& x) {
  return bytes([&](int i) { return x.v[i] << N; });
}
inline I dot(const I& acc, const B& codes, const int8_t* a) {
  return lanes<I>([&](int i) {
    const uint8_t* c = codes.v + 4 * i;
    return acc.v[i] + c[0] * a[0] + c[1] * a[1] + c[2] * a[2] + c[3] * a[3];
  });
}
inline I dot8_init(int32_t neg_sum) { return set1i(neg_sum * 128); }
inline I dot8(const I& acc, const B& codes, const int8_t* a) { return dot(acc, codes, a); }

// acc + dot of the two bfloat16 of each lane with the two of `pair` (the lower half is the earlier element).
inline F dot_bf16(const F& acc, const B& pairs, uint32_t pair) {
  const float low = from_bits(pair << 16), high = from_bits(pair & 0xffff0000u);
  return lanes<F>([&](int i) {
    uint32_t both;
    std::memcpy(&both, pairs.v + 4 * i, 4);
    return acc.v[i] + from_bits(both << 16) * low + from_bits(both & 0xffff0000u) * high;
  });
}
inline F low_bf16(const B& pairs) {
  return lanes<F>([&](int i) {
    uint32_t both;
    std::memcpy(&both, pairs.v + 4 * i, 4);
    return from_bits(both << 16);
  });
}
inline F high_bf16(const B& pairs) {
  return lanes<F>([&](int i) {
    uint32_t both;
    std::memcpy(&both, pairs.v + 4 * i, 4);
    return from_bits(both & 0xffff0000u);
  });
}
// acc + dot of the two words of each lane with the two at a. Sums of what no sequence has written may wrap.
inline I dot_words(const I& acc, const B& pairs, const int16_t* a) {
  return lanes<I>([&](int i) {
    int16_t both[2];
    std::memcpy(both, pairs.v + 4 * i, 4);
    const auto product = [&](int n) { return static_cast<uint32_t>(both[n] * a[n]); };
    return static_cast<int32_t>(static_cast<uint32_t>(acc.v[i]) + product(0) + product(1));
  });
}
// Thirty-two integers of eight bits as words.
inline B load_as_words(const int8_t* p) {
  int16_t words[32];
  for (int i = 0; i < 32; ++i) words[i] = p[i];
  B r;
  std::memcpy(r.v, words, sizeof r.v);
  return r;
}
inline void store_s16(int16_t* p, const I& v) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int16_t>(v.v[i]);
}
inline B and_lanes(const B& x, uint32_t mask) {
  return bytes([&](int i) { return x.v[i] & (mask >> (8 * (i % 4))); });
}

inline F select_range(const F& x, int lo, int hi, float other) {
  return lanes<F>([&](int i) { return i >= lo && i < hi ? x.v[i] : other; });
}
inline uint32_t greater(const F& x, const F& y) {
  uint32_t m = 0;
  for (int i = 0; i < 16; ++i) m |= static_cast<uint32_t>(x.v[i] > y.v[i]) << i;
  return m;
}
}  // namespace simd
