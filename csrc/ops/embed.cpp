// One row of the embedding matrix, dequantised out of its panel.
#include "ops/kernels.h"
#include "ops/unpack.h"

namespace wayra {
namespace {
void embed_f32(const PackedMatrix& m, int32_t row, float* out) {
  const auto* w = reinterpret_cast<const float*>(m.data + row / kLanes * m.panel_bytes) + row % kLanes;
  for (int64_t k = 0; k < m.cols; ++k) out[k] = w[k * kLanes];
}

// Where element k of a row lies in a panel of pairs.
int64_t in_pairs(int64_t k, int32_t row) { return (k / 2 * kLanes + row % kLanes) * 2 + k % 2; }

void embed_bf16(const PackedMatrix& m, int32_t row, float* out) {
  const auto* w = reinterpret_cast<const uint16_t*>(m.data + row / kLanes * m.panel_bytes);
  for (int64_t k = 0; k < m.cols; ++k) {
    const uint32_t bits = static_cast<uint32_t>(w[in_pairs(k, row)]) << 16;
    __builtin_memcpy(out + k, &bits, sizeof bits);
  }
}

void embed_words(const PackedMatrix& m, int32_t row, float* out) {
  const uint8_t* codes = m.data + row / kLanes * m.panel_bytes;
  const auto* w = reinterpret_cast<const int16_t*>(codes);
  const auto* scales = reinterpret_cast<const uint16_t*>(codes + m.scale_offset) + row % kLanes;
  for (int64_t k = 0; k < m.cols; ++k) {
    const uint32_t bits = static_cast<uint32_t>(scales[k / kGroup * kLanes]) << 16;
    float d;
    __builtin_memcpy(&d, &bits, sizeof d);
    out[k] = d * static_cast<float>(w[in_pairs(k, row)]);
  }
}

template <class P>
void embed_quantised(const PackedMatrix& m, int32_t row, float* out) {
  const uint8_t* codes = m.data + row / kLanes * m.panel_bytes;
  const uint8_t* scale_base = codes + m.scale_offset;
  const int lane = row % kLanes;
  alignas(64) uint8_t quads[8][64];
  alignas(64) float d[2][kLanes];
  alignas(64) float low[2][kLanes];
  for (int g = 0; g < m.cols / kGroup; ++g) {
    B w[8];
    Scales s;
    unpack<P>(codes + static_cast<int64_t>(g) * P::kCodeBytes, w);
    P::scales(scale_base, g, s);
    for (int q = 0; q < 8; ++q) __builtin_memcpy(quads[q], &w[q], 64);
    for (int h = 0; h < 2; ++h) {
      if constexpr (P::kHalfScales) {
        simd::store(d[h], s.half[h]);
      } else {
        simd::store(d[h], s.d);
      }
      if constexpr (P::kHasMin) {
        simd::store(low[h], s.m);
      } else if constexpr (P::kOffsetShift < 0) {
        simd::store(low[h], s.m_half[h]);
      } else {
        simd::store(low[h], simd::zero());
      }
    }
    constexpr int offset = P::kOffsetShift < 0 ? 0 : 1 << P::kOffsetShift;
    for (int k = 0; k < kGroup; ++k) {
      const int code = static_cast<int>(quads[k / 4][4 * lane + k % 4]) - offset;
      out[g * kGroup + k] = d[k / kLanes][lane] * static_cast<float>(code) + low[k / kLanes][lane];
    }
  }
}
}  // namespace

void embed(const PackedMatrix& m, int32_t row, float* out) {
  switch (m.format) {
    case Format::kF32: return embed_f32(m, row, out);
    case Format::kF16: return embed_words(m, row, out);
    case Format::kBF16: return embed_bf16(m, row, out);
    default: return with_format(m.format, [&](auto p) { embed_quantised<decltype(p)>(m, row, out); });
  }
}
}  // namespace wayra
