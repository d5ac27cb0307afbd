// How keys and values are multiplied, for each type they are cached in. A lane of a key holds kDims consecutive
// dimensions, a lane of a value kKeys consecutive keys, and so does the scalar beside it. Where kSumKeys is not zero,
// sums of values are taken of no more keys than that before they become floats.
#pragma once
#include "ops/heads.h"
#include "ops/simd.h"

namespace wayra {

// What one row needs beside its scalars: integers carry scales.
struct RowScales {
  float query = 0.0f;   // of the integers of its query, as logarithms of base 2
  int32_t neg_sum = 0;  // minus their sum
  float steps = 0.0f;   // from a probability times its value's scale to an integer
  float step = 0.0f;    // and back
};

template <class E>
struct CachedFloats {
  using F = simd::F;
  using T = typename E::T;
  using Scalar = float;
  using Sum = F;
  static constexpr int kDims = 1;
  static constexpr int kKeys = 1;
  static constexpr bool kScaled = false;
  static constexpr int kSumKeys = 0;
  static F load_key(const T* p) { return E::get(p); }
  static F load_value(const T* p) { return E::get(p); }
  static F keep_first(F v) { return v; }
  static F begin_score(const RowScales&) { return simd::zero(); }
  static F begin_value() { return simd::zero(); }
  static F multiply_key(F acc, F lane, float scalar) { return simd::fma(lane, simd::set1(scalar), acc); }
  static F multiply_value(F acc, F lane, float scalar) { return multiply_key(acc, lane, scalar); }
  static F score(F acc, const float*, const RowScales&) { return acc; }
  static F weighed(F acc, const RowScales&) { return acc; }
  static F exp2(F x) { return simd::exp2(x); }
  static void copy_query(const float* q, float factor, int dim, float* out, RowScales&) {
    const F f = simd::set1(factor);
    int d = 0;
    for (; d + kLanes <= dim; d += kLanes) simd::store(out + d, simd::mul(simd::load(q + d), f));
    if (d < dim) simd::store_first(out + d, simd::mul(simd::load_first(q + d, dim - d), f), dim - d);
  }
  static F put(float* row, int key, const F p[2], const float*, const RowScales&, F sum) {
    simd::store(row + key, p[0]);
    simd::store(row + key + kLanes, p[1]);
    return simd::add(simd::add(sum, p[0]), p[1]);
  }
};

// Queries and probabilities are rounded to bfloat16 too.
struct CachedPairs {
  using F = simd::F;
  using T = uint16_t;
  using Scalar = uint32_t;
  using Sum = F;
  static constexpr int kDims = 2;
  static constexpr int kKeys = 2;
  static constexpr bool kScaled = false;
  static constexpr int kSumKeys = 0;
  static constexpr uint32_t kOnes = 0x3f803f80u;
  static simd::B load_key(const T* p) { return simd::load_bytes(reinterpret_cast<const uint8_t*>(p)); }
  static simd::B load_value(const T* p) { return load_key(p); }
  static simd::B keep_first(const simd::B& v) { return simd::and_lanes(v, 0xffffu); }
  static F begin_score(const RowScales&) { return simd::zero(); }
  static F begin_value() { return simd::zero(); }
  static F multiply_key(F acc, const simd::B& lane, uint32_t scalar) { return simd::dot_bf16(acc, lane, scalar); }
  static F multiply_value(F acc, const simd::B& lane, uint32_t scalar) { return simd::dot_bf16(acc, lane, scalar); }
  static F score(F acc, const float*, const RowScales&) { return acc; }
  static F weighed(F acc, const RowScales&) { return acc; }
  static F exp2(F x) { return simd::exp2_rough(x); }  // the result is rounded to eight bits
  // Zero up to a whole vector.
  static void copy_query(const float* q, float factor, int dim, float* out, RowScales&) {
    const F f = simd::set1(factor);
    int d = 0;
    for (; d + kLanes <= dim; d += kLanes) simd::store_bf16(out + d / 2, simd::mul(simd::load(q + d), f));
    if (d < dim) simd::store_bf16(out + d / 2, simd::mul(simd::load_first(q + d, dim - d), f));
  }
  // In place: the half row that is written never reaches what is still to be read. The sum is of what was rounded, so
  // that the probabilities add up to one.
  static F put(float* row, int key, const F p[2], const float*, const RowScales&, F sum) {
    const simd::B both = simd::to_bf16(p[0], p[1]);
    simd::store_bytes(row + key / 2, both);
    return simd::dot_bf16(sum, both, kOnes);
  }
};

// Integers, a scale a head of a token. A probability times its value's scale is rounded to fifteen bits, so that the
// scales are in it and the sums over keys are sums of integers. No bit fewer: most probabilities are small.
struct CachedInts {
  using F = simd::F;
  using Scalar = uint32_t;
  using Sum = simd::Sums;
  static constexpr int kKeys = 2;
  static constexpr bool kScaled = true;
  static constexpr float kSteps = 32767.0f;
  static const simd::B& keep_first(const simd::B& v) { return v; }  // nothing times an integer is nothing
  static Sum begin_value() { return simd::as_sums(simd::zeroi()); }
  static Sum multiply_value(const Sum& acc, const simd::B& lane, uint32_t scalar) {
    int16_t both[2];
    __builtin_memcpy(both, &scalar, sizeof both);
    return simd::as_sums(simd::dot_words(simd::as_ints(acc), lane, both));
  }
  static F score(const Sum& acc, const float* key_scales, const RowScales& r) {
    return simd::mul(simd::to_float(simd::as_ints(acc)), simd::mul(simd::load(key_scales), simd::set1(r.query)));
  }
  static F exp2(F x) { return simd::exp2_rough(x); }
  // largest: scale of a value that the row sees.
  static void set_steps(float largest, RowScales& r) {
    r.steps = largest > 0.0f ? kSteps / largest : 0.0f;
    r.step = largest / kSteps;
  }
  // In place, as for pairs.
  static F put(float* row, int key, const F p[2], const float* value_scales, const RowScales& r, F sum) {
    const F factor = simd::set1(r.steps);
    auto* words = reinterpret_cast<int16_t*>(row) + key;
    for (int h = 0; h < 2; ++h) {
      const F scaled = simd::mul(p[h], simd::mul(simd::load(value_scales + h * kLanes), factor));
      // Where no key is seen the scale may be any bytes, and nothing times it no number: the second of the two then.
      simd::store_s16(words + h * kLanes, simd::round_to_int(simd::max(scaled, simd::zero())));
    }
    return simd::add(simd::add(sum, p[0]), p[1]);
  }
};

// Of eight bits. The query is rounded to eight bits too; sums of a whole split fit: 256 x 32767 x 127 < 2^31.
struct CachedBytes : CachedInts {
  using T = int8_t;
  static constexpr int kDims = 4;
  static constexpr int kSumKeys = 0;
  static simd::B load_key(const T* p) { return simd::load_bytes(reinterpret_cast<const uint8_t*>(p)); }
  static simd::B load_value(const T* p) { return simd::load_as_words(p); }
  static Sum begin_score(const RowScales& r) { return simd::as_sums(simd::dot8_init(r.neg_sum)); }
  static Sum multiply_key(const Sum& acc, const simd::B& lane, uint32_t scalar) {
    int8_t four[4];
    __builtin_memcpy(four, &scalar, sizeof four);
    return simd::as_sums(simd::dot8(simd::as_ints(acc), lane, four));
  }
  static F weighed(const Sum& acc, const RowScales& r) {
    return simd::mul(simd::to_float(simd::as_ints(acc)), simd::set1(r.step));
  }
  static void copy_query(const float* q, float factor, int dim, float* out, RowScales& r) {
    auto* ints = reinterpret_cast<int8_t*>(out);
    // Turning has lengthened queries and keys.
    const Rounded rounded = round_head(q, dim, ints);
    r.query = rounded.scale * factor / static_cast<float>(turn_len(dim));
    // A not-a-number becomes the least integer: sums may wrap.
    r.neg_sum = static_cast<int32_t>(0u - static_cast<uint32_t>(simd::reduce_addi(rounded.sums)));
  }
};

// Of sixteen: fourteen of a key, as many of the query as the sum over its dimensions allows, and thirteen of a value,
// so that sums of sixteen fit, 16 x 32767 x 4095 < 2^31. Products of words are two a lane, where float16 has one and is
// converted first.
struct CachedWords : CachedInts {
  using T = int16_t;
  static constexpr int kDims = 2;
  static constexpr int kSumKeys = 16;
  static simd::B load_key(const T* p) { return simd::load_bytes(reinterpret_cast<const uint8_t*>(p)); }
  static simd::B load_value(const T* p) { return load_key(p); }
  static Sum begin_score(const RowScales&) { return simd::as_sums(simd::zeroi()); }
  static Sum multiply_key(const Sum& acc, const simd::B& lane, uint32_t scalar) {
    return multiply_value(acc, lane, scalar);  // words too
  }
  static F weighed(F total, const RowScales& r) { return simd::mul(total, simd::set1(r.step)); }
  static void copy_query(const float* q, float factor, int dim, float* out, RowScales& r) {
    r.query = round_query_words(q, dim, reinterpret_cast<int16_t*>(out)) * factor;
  }
};

}  // namespace wayra
