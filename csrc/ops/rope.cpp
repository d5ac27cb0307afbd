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

uint16_t to_bf16(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

constexpr int kChunk = 16;
// Converts n <= 16 values; float16 saturates instead of overflowing to infinity.
void convert(const float* in, int n, KvType type, uint16_t out[kChunk]) {
  if (type == KvType::kBF16) {
    for (int i = 0; i < n; ++i) out[i] = to_bf16(in[i]);
    return;
  }
  const simd::F v = simd::load_first(in, n);
  simd::store_f16(out, simd::max(simd::min(v, simd::set1(65504.0f)), simd::set1(-65504.0f)));
}

// Writes n elements at dst, dst + stride, ...
void write_strided(const float* src, int n, KvType type, uint8_t* dst, int64_t stride) {
  if (type == KvType::kF32) {
    auto* out = reinterpret_cast<float*>(dst);
    for (int i = 0; i < n; ++i) out[i * stride] = src[i];
    return;
  }
  auto* out = reinterpret_cast<uint16_t*>(dst);
  for (int i = 0; i < n; i += kChunk) {
    uint16_t t[kChunk];
    const int m = n - i < kChunk ? n - i : kChunk;
    convert(src + i, m, type, t);
    for (int j = 0; j < m; ++j) out[(i + j) * stride] = t[j];
  }
}
}  // namespace

void rope_store(const RopeStoreArgs& a) {
  const int dim = a.kv.head_dim;
  const int half = a.rotary_dim / 2;
  const float* in = a.qkv;
  for (int h = 0; h < a.num_heads; ++h, in += dim) rotate(in, a.cos_sin, half, dim, a.q_out + h * dim);
  const int64_t element = a.kv.type == KvType::kF32 ? 4 : 2;
  uint8_t* block = a.kv.base + a.block * a.kv.block_stride;
  const int64_t k_at = static_cast<int64_t>(a.slot / kLanes) * dim * kLanes + a.slot % kLanes;
  alignas(64) float turned[kMaxHeadDim];
  for (int h = 0; h < a.num_kv_heads; ++h, in += dim) {
    rotate(in, a.cos_sin, half, dim, turned);
    write_strided(turned, dim, a.kv.type, block + h * a.kv_head_stride + k_at * element, kLanes);
  }
  for (int h = 0; h < a.num_kv_heads; ++h, in += dim) {
    const int64_t v_at = static_cast<int64_t>(a.slot) * a.kv.padded_dim;
    write_strided(in, dim, a.kv.type, block + h * a.kv_head_stride + a.kv.v_offset + v_at * element, 1);
  }
}
}  // namespace wayra
