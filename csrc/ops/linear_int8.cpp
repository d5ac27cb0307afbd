// Products of quantised weights with int8 activations.
#include "ops/kernels.h"
#include "ops/tiles.h"
#include "ops/unpack.h"

namespace wayra {
namespace {
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
    // Floats instead of the products of integers that a file's definition has: one operation a row less, and exact but
    // for the last bit.
    const F first = simd::mul(s.d, simd::to_float(s.half[0])), second = simd::mul(s.d, simd::to_float(s.half[1]));
    // Row by row where the registers do not hold a second sum of every row.
    constexpr int N = simd::kAccumulators >= 16 && !Fine ? R : 1;
    for (int top = 0; top < R; top += N) {
      const int64_t entry = at + top;
      I dots[N];
      F both[N];
      dot_group<P, Fine, N, 0, 4>(dots, w, x, entry, [&](int r) { return x.neg_sum16[2 * (entry + r)]; });
#pragma GCC unroll 8
      for (int r = 0; r < N; ++r) both[r] = simd::mul(simd::to_float(dots[r]), first);
      dot_group<P, Fine, N, 4, 8>(dots, w, x, entry, [&](int r) { return x.neg_sum16[2 * (entry + r) + 1]; });
#pragma GCC unroll 8
      for (int r = 0; r < N; ++r) {
        both[r] = simd::fma(simd::to_float(dots[r]), second, both[r]);
        if constexpr (P::kOffsetShift < 0) {
          for (int h = 0; h < 2; ++h) {
            const I neg_sum = simd::set1i(x.neg_sum16[2 * (entry + r) + h]);
            both[r] = simd::fma(simd::to_float(neg_sum), simd::sub(simd::zero(), s.m_half[h]), both[r]);
          }
        }
        acc[top + r] = simd::fma(both[r], simd::set1(x.scale[entry + r]), acc[top + r]);
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
    if (first_tile) here = prefetch(here, stride);
    P::codes(codes + static_cast<int64_t>(g) * P::kCodeBytes, w);
    P::scales(scales, g, s);
    add_group<P, Fine, R>(acc, w, s, x, static_cast<int64_t>(g) * kTileRows);
  }
  for (int r = 0; r < R; ++r) write_row(a, panel, row + r, acc[r]);
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
}  // namespace

void linear_int8(const LinearArgs& a) {
  with_format(a.weight->format, [&](auto p) {
    using P = decltype(p);
    if (a.x->low) return cover(a, QuantisedTile<P, true>{});
    cover(a, QuantisedTile<P, false>{});
  });
}
}  // namespace wayra
