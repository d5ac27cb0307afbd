// Matrix times activations. A tile is one panel (16 weight rows, one per lane) times a few activation rows; each lane
// accumulates its own output, so nothing is ever added across lanes. The arithmetic of an output element, and its
// order, is the same in every tile shape: results do not depend on how many rows are computed together.
#include <cstring>

#include "ops/kernels.h"
#include "ops/unpack.h"

namespace wayra {
namespace {
// With few rows the weights' stream from memory is the limit, and the hardware prefetcher alone does not fill it.
// Far ahead into the second cache, whose misses are not held up by the few buffers of the first; near into the first.
constexpr int64_t kPrefetchFar = 32 << 10;
constexpr int64_t kPrefetchNear = 2 << 10;

// The pointers of a tile's rows: entry g * kTileRows + r is row r's group g.
struct TileRows {
  const int8_t* q;
  const int8_t* low;
  const float* scale;
  const float* sum;
  const int32_t* neg_sum;
  const int32_t* neg_sum16;

  TileRows(const ActRows& x, int64_t row)
      : q(x.q + x.at(row, 0) * kGroup),
        low(x.low ? x.low + x.at(row, 0) * kGroup : nullptr),
        scale(x.scale + x.at(row, 0)),
        sum(x.sum + x.at(row, 0)),
        neg_sum(x.neg_sum + x.at(row, 0)),
        neg_sum16(x.neg_sum16 + 2 * x.at(row, 0)) {}
};

template <class P>
inline I dot(I acc, const B& w, const int8_t* a) {
  if constexpr (P::kWide) {
    return simd::dot8(acc, w, a);
  } else {
    return simd::dot(acc, w, a);
  }
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

// dots[r] += dot products of quads [From, To) of a group with row r's integers at a + 32 * r. Where registers suffice
// all rows go quad by quad: chains of eight dependent instructions, one a row, keep the multipliers busy.
template <class P, int R, int From, int To>
inline void dot_rows(I dots[R], const B w[8], const int8_t* a) {
  if constexpr (simd::kAccumulators >= 16) {
#pragma GCC unroll 8
    for (int q = From; q < To; ++q) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) dots[r] = dot<P>(dots[r], w[q], a + r * kGroup + 4 * q);
    }
  } else {
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int q = From; q < To; ++q) dots[r] = dot<P>(dots[r], w[q], a + r * kGroup + 4 * q);
    }
  }
}

// Dot products of quads [From, To) of entries `at`...; neg_sum(r) is minus the sum of row r's integers.
template <class P, bool Fine, int R, int From, int To, class NegSum>
inline void dot_group(I dots[R], const B w[8], const TileRows& x, int64_t at, NegSum neg_sum) {
  if constexpr (Fine) {
    for (int r = 0; r < R; ++r) dots[r] = simd::zeroi();
    dot_rows<P, R, From, To>(dots, w, x.q + at * kGroup);
    I low[R];
    for (int r = 0; r < R; ++r) low[r] = offset_init<P>(neg_sum(r));
    dot_rows<P, R, From, To>(low, w, x.low + at * kGroup);
    for (int r = 0; r < R; ++r) dots[r] = simd::addi(low[r], simd::slli<7>(dots[r]));
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) dots[r] = offset_init<P>(neg_sum(r));
    dot_rows<P, R, From, To>(dots, w, x.q + at * kGroup);
  }
}

// Adds the contribution of the group at entries `at`... to R output rows.
template <class P, bool Fine, int R>
inline void add_group(F acc[R], const B w[8], const Scales& s, const TileRows& x, int64_t at) {
  if constexpr (P::kHalfScales) {
    // Row by row: two sums a row would not fit the registers otherwise.
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      I low[1], high[1];
      dot_group<P, Fine, 1, 0, 4>(low, w, x, at + r, [&](int) { return x.neg_sum16[2 * (at + r)]; });
      dot_group<P, Fine, 1, 4, 8>(high, w, x, at + r, [&](int) { return x.neg_sum16[2 * (at + r) + 1]; });
      const float scale = x.scale[at + r];
      const I both = simd::addi(simd::muli(low[0], s.half[0]), simd::muli(high[0], s.half[1]));
      acc[r] = simd::fma(simd::to_float(both), simd::mul(s.d, simd::set1(scale)), acc[r]);
      if constexpr (P::kOffsetShift < 0) {
        for (int h = 0; h < 2; ++h) {
          const float sum = -scale * static_cast<float>(x.neg_sum16[2 * (at + r) + h]);
          acc[r] = simd::fma(s.m_half[h], simd::set1(sum), acc[r]);
        }
      }
    }
  } else {
    I dots[R];
    dot_group<P, Fine, R, 0, 8>(dots, w, x, at, [&](int r) { return x.neg_sum[at + r]; });
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      acc[r] = simd::fma(simd::to_float(dots[r]), simd::mul(s.d, simd::set1(x.scale[at + r])), acc[r]);
      if constexpr (P::kHasMin) acc[r] = simd::fma(s.m, simd::set1(x.sum[at + r]), acc[r]);
    }
  }
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
  const TileRows x(*a.x, row);
  const int64_t stride = a.weight->panel_bytes / a.x->groups;
  const uint8_t* here = codes;
  const bool first_tile = row == a.row_begin;  // later ones find the panel in the cache
  for (int g = 0; g < a.x->groups; ++g) {
    B w[8];
    Scales s;
    if (first_tile) {
      for (int64_t i = 0; i < stride; i += 64) {
        __builtin_prefetch(here + kPrefetchFar + i, 0, 2);
        __builtin_prefetch(here + kPrefetchNear + i, 0, 3);
      }
      here += stride;
    }
    P::codes(codes + static_cast<int64_t>(g) * P::kCodeBytes, w);
    P::scales(scales, g, s);
    add_group<P, Fine, R>(acc, w, s, x, static_cast<int64_t>(g) * kTileRows);
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
// row_begin is a multiple of 8, so that no tile crosses one of the activations'.
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
