// Matrix times activations. A tile is one panel (16 weight rows, one per lane) times a few activation rows; each lane
// accumulates its own output, so nothing is ever added across lanes. The arithmetic of an output element, and its
// order, is the same in every tile shape: results do not depend on how many rows are computed together.
#include <cstring>

#include "ops/kernels.h"
#include "ops/unpack.h"

namespace wayra {
namespace {
// With few rows the weights' stream from memory is the limit, and the hardware prefetcher alone does not fill it.
constexpr int64_t kPrefetchBytes = 8192;

// Dot products of a half or whole group: quads [from, to) of one activation row.
template <class P>
inline I dot_quads(I acc, const B w[8], const int8_t* a, int from, int to) {
#pragma GCC unroll 8
  for (int q = from; q < to; ++q) {
    if constexpr (P::kWide) {
      acc = simd::dot8(acc, w[q], a + 4 * q);
    } else {
      acc = simd::dot(acc, w[q], a + 4 * q);
    }
  }
  return acc;
}

template <class P>
inline I offset_init(int32_t neg_sum) {
  if constexpr (P::kWide) {
    return simd::dot8_init(neg_sum);
  } else if constexpr (P::kOffsetShift >= 0) {
    return simd::slli<P::kOffsetShift>(simd::set1i(neg_sum));
  } else {
    return simd::zeroi();
  }
}

// Dot products of quads [from, to) of a group with the integers of its activations; neg_sum is minus the sum of those.
template <class P, bool Fine>
inline I dot_group(const B w[8], const ActRows& x, int64_t at, int32_t neg_sum, int from, int to) {
  const I low = dot_quads<P>(offset_init<P>(neg_sum), w, (Fine ? x.low : x.q) + at, from, to);
  if constexpr (!Fine) return low;
  return simd::addi(low, simd::slli<7>(dot_quads<P>(simd::zeroi(), w, x.q + at, from, to)));
}

// Adds the group's contribution to one output row.
template <class P, bool Fine>
inline F add_group(F acc, const B w[8], const Scales& s, const ActRows& x, int64_t row, int g) {
  const int64_t at = row * x.groups + g;
  const int64_t first = row * x.cols + g * kGroup;
  const float scale = x.scale[at];
  const F d = simd::mul(s.d, simd::set1(scale));
  if constexpr (P::kHalfScales) {
    const I low = dot_group<P, Fine>(w, x, first, x.neg_sum16[2 * at], 0, 4);
    const I high = dot_group<P, Fine>(w, x, first, x.neg_sum16[2 * at + 1], 4, 8);
    const I both = simd::addi(simd::muli(low, s.half[0]), simd::muli(high, s.half[1]));
    acc = simd::fma(simd::to_float(both), d, acc);
    if constexpr (P::kOffsetShift < 0) {
      for (int h = 0; h < 2; ++h) {
        const float sum = -scale * static_cast<float>(x.neg_sum16[2 * at + h]);
        acc = simd::fma(s.m_half[h], simd::set1(sum), acc);
      }
    }
  } else {
    const I dots = dot_group<P, Fine>(w, x, first, x.neg_sum[at], 0, 8);
    acc = simd::fma(simd::to_float(dots), d, acc);
    if constexpr (P::kHasMin) acc = simd::fma(s.m, simd::set1(x.sum[at]), acc);
  }
  return acc;
}

inline void write_row(const LinearArgs& a, int panel, int64_t row, F acc) {
  const int at = panel * kLanes;
  const int n = a.weight->rows - at;
  float* out = a.out + row * a.out_stride + at;
  if (n >= kLanes) {
    if (a.bias) acc = simd::add(acc, simd::load(a.bias + at));
    simd::store(out, acc);
  } else {
    if (a.bias) acc = simd::add(acc, simd::load_first(a.bias + at, n));
    simd::store_first(out, acc, n);
  }
}

template <class P, bool Fine, int R>
void quantised_tile(const LinearArgs& a, int panel, int64_t row) {
  const uint8_t* codes = a.weight->data + panel * a.weight->panel_bytes;
  const uint8_t* scales = codes + a.weight->scale_offset;
  F acc[R];
  for (int r = 0; r < R; ++r) acc[r] = simd::zero();
  const int64_t stride = a.weight->panel_bytes / a.x->groups;
  const uint8_t* ahead = codes + kPrefetchBytes;
  const bool first_tile = row == a.row_begin;  // later ones find the panel in the cache
  for (int g = 0; g < a.x->groups; ++g) {
    B w[8];
    Scales s;
    if (first_tile) {
      for (int64_t i = 0; i < stride; i += 64) __builtin_prefetch(ahead + i);
      ahead += stride;
    }
    P::codes(codes + static_cast<int64_t>(g) * P::kCodeBytes, w);
    P::scales(scales, g, s);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[r] = add_group<P, Fine>(acc[r], w, s, *a.x, row + r, g);
  }
  for (int r = 0; r < R; ++r) write_row(a, panel, row + r, acc[r]);
}

template <class E, int R>
void float_tile(const LinearArgs& a, int panel, int64_t row) {
  const auto* w = reinterpret_cast<const typename E::T*>(a.weight->data + panel * a.weight->panel_bytes);
  const int64_t cols = a.weight->cols;
  const float* x = a.x->f32 + row * cols;
  F acc[R];
  for (int r = 0; r < R; ++r) acc[r] = simd::zero();
  for (int64_t k = 0; k < cols; ++k) {
    const F v = E::get(w + k * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[r] = simd::fma(v, simd::set1(x[r * cols + k]), acc[r]);
  }
  for (int r = 0; r < R; ++r) write_row(a, panel, row + r, acc[r]);
}

// Covers the rows with tiles of 8, 4, 2 and 1 (up to kMaxRows), panel by panel so that a panel stays in the cache.
template <class Tile>
void cover(const LinearArgs& a, Tile tile) {
  for (int panel = a.panel_begin; panel < a.panel_end; ++panel) {
    int64_t row = a.row_begin;
    const int64_t end = a.row_end;
    if constexpr (Tile::kMaxRows >= 8) {
      for (; row + 8 <= end; row += 8) tile.template run<8>(a, panel, row);
    }
    for (; row + 4 <= end; row += 4) tile.template run<4>(a, panel, row);
    for (; row + 2 <= end; row += 2) tile.template run<2>(a, panel, row);
    for (; row < end; ++row) tile.template run<1>(a, panel, row);
  }
}

template <class P, bool Fine>
struct QuantisedTile {
  // Fine activations are those of the head: a few rows a step.
  static constexpr int kMaxRows = Fine ? 4 : simd::kMaxRows;
  template <int R>
  static void run(const LinearArgs& a, int panel, int64_t row) {
    quantised_tile<P, Fine, R>(a, panel, row);
  }
};
template <class E>
struct FloatTile {
  static constexpr int kMaxRows = simd::kMaxRows;
  template <int R>
  static void run(const LinearArgs& a, int panel, int64_t row) {
    float_tile<E, R>(a, panel, row);
  }
};
}  // namespace

void linear(const LinearArgs& a) {
  switch (a.weight->format) {
    case Format::kF32: return cover(a, FloatTile<simd::AsF32>{});
    case Format::kF16: return cover(a, FloatTile<simd::AsF16>{});
    case Format::kBF16: return cover(a, FloatTile<simd::AsBF16>{});
    default:
      return with_format(a.weight->format, [&](auto p) {
        using P = decltype(p);
        if (a.x->low) return cover(a, QuantisedTile<P, true>{});
        cover(a, QuantisedTile<P, false>{});
      });
  }
}
}  // namespace wayra
