// Products of quantised weights with int8 activations.
#include <utility>

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

// The codes of a group of one panel, unpacked at once.
template <class P>
struct Unpacked {
  static constexpr int kPanels = 1;
  B w[8];

  explicit Unpacked(const uint8_t* codes) { unpack<P>(codes, w); }
  template <int Q>
  B quad(int) const {
    return w[Q];
  }
};

// Those of two panels, unpacked as they are needed: the registers hold the sums of both.
template <class P>
struct PackedPair {
  static constexpr int kPanels = 2;
  const uint8_t* codes[2];

  template <int Q>
  B quad(int panel) const {
    return P::template quad<Q>(codes[panel]);
  }
};

// Calls f.operator()<Q>() for Q of [From, To).
template <int From, int To, class F>
inline void each_quad(F f) {
  [&]<int... Q>(std::integer_sequence<int, Q...>) __attribute__((always_inline)) {
    (f.template operator()<From + Q>(), ...);
  }(std::make_integer_sequence<int, To - From>{});
}

// dots[n][r] += dot products of quads [From, To) of panel n's group with row r's integers at a + 32 * r. Where
// registers suffice all rows go quad by quad: chains of eight dependent instructions, one a row and panel, keep the
// multipliers busy, and what is loaded of a row serves every panel.
template <class P, int R, int From, int To, class Codes>
inline void dot_rows(I dots[][R], const Codes& codes, const int8_t* a) {
  constexpr int N = Codes::kPanels;
  if constexpr (simd::kAccumulators >= 16) {
    each_quad<From, To>([&]<int Q>() __attribute__((always_inline)) {
      B w[N];
      for (int n = 0; n < N; ++n) w[n] = codes.template quad<Q>(n);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        for (int n = 0; n < N; ++n) dots[n][r] = dot<P>(dots[n][r], w[n], a + r * kGroup + 4 * Q);
      }
    });
  } else {
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int q = From; q < To; ++q) dots[0][r] = dot<P>(dots[0][r], codes.w[q], a + r * kGroup + 4 * q);
    }
  }
}

// Dot products of quads [From, To) of entries `at`...; neg_sum(r) is minus the sum of row r's integers.
template <class P, bool Fine, int R, int From, int To, class Codes, class NegSum>
inline void dot_group(I dots[][R], const Codes& codes, const TileRows& x, int64_t at, NegSum neg_sum) {
  constexpr int N = Codes::kPanels;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) dots[n][r] = offset_init<P>(neg_sum(r));
  }
  if constexpr (Fine) {
    I high[N][R];
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) high[n][r] = simd::zeroi();
    }
    dot_rows<P, R, From, To>(high, codes, x.q + at * kGroup);
    dot_rows<P, R, From, To>(dots, codes, x.low + at * kGroup);
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) dots[n][r] = simd::addi(dots[n][r], simd::slli<7>(high[n][r]));
    }
  } else {
    dot_rows<P, R, From, To>(dots, codes, x.q + at * kGroup);
  }
}

// Adds the contribution of the group at entries `at`... to R output rows of N panels.
template <class P, bool Fine, int R, class Codes>
inline void add_group(F acc[][R], const Codes& codes, const Scales* s, const TileRows& x, int64_t at) {
  constexpr int N = Codes::kPanels;
  if constexpr (P::kHalfScales) {
    // Floats instead of the products of integers that a file's definition has: one operation a row less, and exact but
    // for the last bit.
    F first[N], second[N];
    for (int n = 0; n < N; ++n) {
      first[n] = simd::mul(s[n].d, simd::to_float(s[n].half[0]));
      second[n] = simd::mul(s[n].d, simd::to_float(s[n].half[1]));
    }
    // Row by row where the registers do not hold a second sum of every row.
    constexpr int K = simd::kAccumulators >= 16 && !Fine ? R : 1;
    for (int top = 0; top < R; top += K) {
      const int64_t entry = at + top;
      I dots[N][K];
      F both[N][K];
      dot_group<P, Fine, K, 0, 4>(dots, codes, x, entry, [&](int r) { return x.neg_sum16[2 * (entry + r)]; });
#pragma GCC unroll 8
      for (int r = 0; r < K; ++r) {
        for (int n = 0; n < N; ++n) both[n][r] = simd::mul(simd::to_float(dots[n][r]), first[n]);
      }
      dot_group<P, Fine, K, 4, 8>(dots, codes, x, entry, [&](int r) { return x.neg_sum16[2 * (entry + r) + 1]; });
#pragma GCC unroll 8
      for (int r = 0; r < K; ++r) {
        for (int n = 0; n < N; ++n) {
          both[n][r] = simd::fma(simd::to_float(dots[n][r]), second[n], both[n][r]);
          if constexpr (P::kOffsetShift < 0) {
            for (int h = 0; h < 2; ++h) {
              const I neg_sum = simd::set1i(x.neg_sum16[2 * (entry + r) + h]);
              both[n][r] = simd::fma(simd::to_float(neg_sum), simd::sub(simd::zero(), s[n].m_half[h]), both[n][r]);
            }
          }
          acc[n][top + r] = simd::fma(both[n][r], simd::set1(x.scale[entry + r]), acc[n][top + r]);
        }
      }
    }
  } else {
    I dots[N][R];
    dot_group<P, Fine, R, 0, 8>(dots, codes, x, at, [&](int r) { return x.neg_sum[at + r]; });
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) {
        const F scale = simd::set1(x.scale[at + r]);
        const F factor = P::kRowScale ? scale : simd::mul(s[n].d, scale);  // a row's one scale comes last
        acc[n][r] = simd::fma(simd::to_float(dots[n][r]), factor, acc[n][r]);
        if constexpr (P::kHasMin) acc[n][r] = simd::fma(s[n].m, simd::set1(x.sum[at + r]), acc[n][r]);
      }
    }
  }
}

template <class P, bool Fine, int N, int R>
void quantised_tile(const LinearArgs& a, int panel, int64_t row) {
  const int64_t panel_bytes = a.weight->panel_bytes;
  const uint8_t* codes = a.weight->data + panel * panel_bytes;
  const uint8_t* scales = codes + a.weight->scale_offset;
  F acc[N][R];
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) acc[n][r] = simd::zero();
  }
  const TileRows x(*a.x, row);
  const int64_t stride = panel_bytes / a.x->groups;
  const bool first_tile = N == 1 && row == a.row_begin;  // later ones find the panels in the cache
  for (int g = 0; g < a.x->groups; ++g) {
    Scales s[N];
    if (first_tile) prefetch(codes + g * stride, stride);
    for (int n = 0; n < N; ++n) P::scales(scales + n * panel_bytes, g, s[n]);
    const uint8_t* group = codes + static_cast<int64_t>(g) * P::kCodeBytes;
    const int64_t at = static_cast<int64_t>(g) * kTileRows;
    if constexpr (N == 1) {
      add_group<P, Fine, R>(acc, Unpacked<P>(group), s, x, at);
    } else {
      add_group<P, Fine, R>(acc, PackedPair<P>{{group, group + panel_bytes}}, s, x, at);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) {
      if constexpr (P::kRowScale) {
        Scales s;
        P::scales(scales + n * panel_bytes, 0, s);
        acc[n][r] = simd::mul(acc[n][r], s.d);
      }
      write_row(a, panel + n, row + r, acc[n][r]);
    }
  }
}

template <class P, bool Fine>
struct QuantisedTile {
  // Fine activations are those of the head: a few rows a step.
  static constexpr int kMaxRows = Fine ? 4 : simd::kMaxRows;
  static constexpr int kPairRows = simd::kAccumulators >= 16 && !Fine && !P::kHalfScales ? 4 : 0;
  template <int N, int R>
  static void run(const LinearArgs& a, int panel, int64_t row) {
    quantised_tile<P, Fine, N, R>(a, panel, row);
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
