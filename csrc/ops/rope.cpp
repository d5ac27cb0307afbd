// Rotary embedding of Q and K of one token; K and V go to the paged cache.
#include <cstring>

#include "ops/kernels.h"
#include "ops/simd.h"

namespace wayra {
namespace {
// Half-split layout, as in Hugging Face: dimension i turns with i + rotary_dim / 2. Source: Su et al. 2021, eq. 34.
void rotate(const float* in, const float* cos_sin, int half, int head_dim, float* out) {
  const float* cos = cos_sin;
  const float* sin = cos_sin + half;
  for (int i = 0; i < half; ++i) {
    const float a = in[i], b = in[i + half];
    out[i] = a * cos[i] - b * sin[i];
    out[i + half] = b * cos[i] + a * sin[i];
  }
  for (int i = 2 * half; i < head_dim; ++i) out[i] = in[i];
}

// Rounds n values to the cache's type; what does not fit saturates instead of overflowing to infinity.
void round_to(KvType type, const float* in, int n, uint16_t* out) {
  const float largest = type == KvType::kF16 ? 65504.0f : 3.3895314e38f;
  for (int i = 0; i < n; i += kLanes) {
    const int m = n - i < kLanes ? n - i : kLanes;
    const simd::F v = m == kLanes ? simd::load(in + i) : simd::load_first(in + i, m);
    const simd::F bounded = simd::max(simd::min(v, simd::set1(largest)), simd::set1(-largest));
    if (type == KvType::kF16) {
      simd::store_f16(out + i, bounded);
    } else {
      simd::store_bf16(out + i, bounded);
    }
  }
}

// Copies n units of T from src to dst, dst + stride, ...
template <class T>
void scatter(const void* src, int n, uint8_t* dst, int64_t stride) {
  for (int i = 0; i < n; ++i) __builtin_memcpy(dst + i * stride, static_cast<const T*>(src) + i, sizeof(T));
}

// Writes key `slot` of a block: its dimensions go a lane of each vector.
void write_key(const KvView& kv, uint8_t* block, int slot, const void* key) {
  const int lane = slot % kLanes, half = slot / kLanes;
  const int steps = (kv.head_dim + kv.per_lane() - 1) / kv.per_lane();
  if (kv.type == KvType::kF16) {
    scatter<uint16_t>(key, steps, block + (static_cast<int64_t>(half) * steps * kLanes + lane) * 2, kLanes * 2);
  } else {
    scatter<uint32_t>(key, steps, block + (static_cast<int64_t>(half) * steps * kLanes + lane) * 4, kLanes * 4);
  }
}

void write_value(const KvView& kv, uint8_t* values, int slot, const void* value) {
  if (kv.type == KvType::kBF16) {
    const int64_t at = static_cast<int64_t>(slot / 2) * kv.padded_dim * 2 + slot % 2;
    scatter<uint16_t>(value, kv.head_dim, values + at * 2, 4);
  } else {
    const int64_t bytes = kv.type == KvType::kF32 ? 4 : 2;
    std::memcpy(values + slot * kv.padded_dim * bytes, value, static_cast<size_t>(kv.head_dim * bytes));
  }
}
}  // namespace

void rope_store(const RopeStoreArgs& a) {
  const int dim = a.kv.head_dim;
  const int half = a.rotary_dim / 2;
  const float* in = a.qkv;
  for (int h = 0; h < a.num_heads; ++h, in += dim) rotate(in, a.cos_sin, half, dim, a.q_out + h * dim);
  uint8_t* block = a.kv.base + a.block * a.kv.block_stride;
  alignas(64) float turned[kMaxHeadDim];
  alignas(64) uint16_t rounded[kMaxHeadDim];
  const auto stored = [&](const float* values) -> const void* {
    if (a.kv.type == KvType::kF32) return values;
    round_to(a.kv.type, values, dim, rounded);
    return rounded;
  };
  for (int h = 0; h < a.num_kv_heads; ++h, in += dim) {
    rotate(in, a.cos_sin, half, dim, turned);
    write_key(a.kv, block + h * a.kv_head_stride, a.slot, stored(turned));
  }
  for (int h = 0; h < a.num_kv_heads; ++h, in += dim) {
    write_value(a.kv, block + h * a.kv_head_stride + a.kv.v_offset, a.slot, stored(in));
  }
}
}  // namespace wayra
