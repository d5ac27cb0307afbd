// One row of the embedding matrix, dequantised out of its panel.
#include "ops/kernels.h"
#include "ops/unpack.h"

namespace wayra {
namespace {
template <class E>
void embed_float(const PackedMatrix& m, int32_t row, float* out) {
  const auto* w = reinterpret_cast<const typename E::T*>(m.data + row / kLanes * m.panel_bytes);
  alignas(64) float lanes[kLanes];
  for (int64_t k = 0; k < m.cols; ++k) {
    simd::store(lanes, E::get(w + k * kLanes));
    out[k] = lanes[row % kLanes];
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
    P::codes(codes + static_cast<int64_t>(g) * P::kCodeBytes, w);
    P::scales(scale_base, g, s);
    for (int q = 0; q < 8; ++q) __builtin_memcpy(quads[q], &w[q], 64);
    for (int h = 0; h < 2; ++h) {
      if constexpr (P::kHalfScales) {
        simd::store(d[h], simd::mul(s.d, simd::to_float(s.half[h])));
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
    case Format::kF32: return embed_float<simd::AsF32>(m, row, out);
    case Format::kF16: return embed_float<simd::AsF16>(m, row, out);
    case Format::kBF16: return embed_float<simd::AsBF16>(m, row, out);
    default: return with_format(m.format, [&](auto p) { embed_quantised<decltype(p)>(m, row, out); });
  }
}
}  // namespace wayra
