// Rotary embedding of Q and K of one token; K and V go to the paged cache.
#include <cstring>

#include "ops/heads.h"
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

// Copies n units of T from src to dst, dst + stride, ..., with the bits of `flip` the other way round.
template <class T>
void scatter(const void* src, int n, uint8_t* dst, int64_t stride, T flip = 0) {
  for (int i = 0; i < n; ++i) {
    T unit;
    __builtin_memcpy(&unit, static_cast<const T*>(src) + i, sizeof unit);
    unit ^= flip;
    __builtin_memcpy(dst + i * stride, &unit, sizeof unit);
  }
}

// Writes key `slot` of a block: its dimensions go a lane of each vector.
void write_key(const KvView& kv, uint8_t* block, int slot, const void* key) {
  const int lane = slot % kLanes, half = slot / kLanes;
  const int steps = (kv.head_dim + kv.key_dims() - 1) / kv.key_dims();
  if (kv.type == KvType::kF16) {
    scatter<uint16_t>(key, steps, block + (static_cast<int64_t>(half) * steps * kLanes + lane) * 2, kLanes * 2);
  } else {
    const uint32_t flip = kv.type == KvType::kInt8 ? 0x80808080u : 0;  // integer + 128
    scatter<uint32_t>(key, steps, block + (static_cast<int64_t>(half) * steps * kLanes + lane) * 4, kLanes * 4, flip);
  }
}

void write_value(const KvView& kv, uint8_t* values, int slot, const void* value) {
  const int64_t of_pair = static_cast<int64_t>(slot / 2) * kv.padded_dim * 2 + slot % 2;
  if (kv.type == KvType::kBF16 || kv.type == KvType::kInt16) {
    scatter<uint16_t>(value, kv.head_dim, values + of_pair * 2, 4);
  } else if (kv.type == KvType::kInt8) {
    scatter<uint8_t>(value, kv.head_dim, values + of_pair, 2);
  } else {
    const int64_t bytes = kv.type == KvType::kF32 ? 4 : 2;
    std::memcpy(values + slot * kv.padded_dim * bytes, value, static_cast<size_t>(kv.head_dim * bytes));
  }
}

// A head in the form in which it is stored.
class Stored {
 public:
  explicit Stored(const KvView& kv) : kv_(kv) {}

  void key(float* turned, uint8_t* block, int slot) {
    if (kv_.type == KvType::kInt8) turn(turned, kv_.head_dim);
    write_key(kv_, block, slot, round(turned, kKeySteps, block + kv_.key_scales(), slot));
  }
  void value(const float* value, uint8_t* values, int slot) {
    write_value(kv_, values, slot, round(value, kValueSteps, values + kv_.value_scales(), slot));
  }

 private:
  // steps: of words.
  const void* round(const float* head, int steps, uint8_t* scales, int slot) {
    const int dim = kv_.head_dim;
    const auto keep = [&](float scale) { std::memcpy(scales + slot * 4, &scale, sizeof scale); };
    switch (kv_.type) {
      case KvType::kF32: return head;
      case KvType::kInt8: keep(round_head(head, dim, bytes_).scale); return bytes_;
      case KvType::kInt16: keep(round_head_words(head, dim, steps, ints_)); return ints_;
      default: round_to(kv_.type, head, dim, words_); return words_;
    }
  }

  const KvView& kv_;
  alignas(64) uint16_t words_[kMaxHeadDim];
  alignas(64) int16_t ints_[kMaxHeadDim];
  alignas(64) int8_t bytes_[kMaxHeadDim];
};
}  // namespace

void rope_store(const RopeStoreArgs& a) {
  const int dim = a.kv.head_dim;
  const int half = a.rotary_dim / 2;
  const float* in = a.qkv;
  for (int h = 0; h < a.num_heads; ++h, in += dim) {
    rotate(in, a.cos_sin, half, dim, a.q_out + h * dim);
    if (a.kv.type == KvType::kInt8) turn(a.q_out + h * dim, dim);
  }
  uint8_t* block = a.kv.base + a.block * a.kv.block_stride;
  alignas(64) float key[kMaxHeadDim];
  Stored stored(a.kv);
  for (int h = 0; h < a.num_kv_heads; ++h, in += dim) {
    rotate(in, a.cos_sin, half, dim, key);
    stored.key(key, block + h * a.kv_head_stride, a.slot);
  }
  for (int h = 0; h < a.num_kv_heads; ++h, in += dim) {
    stored.value(in, block + h * a.kv_head_stride + a.kv.v_offset, a.slot);
  }
}
}  // namespace wayra
