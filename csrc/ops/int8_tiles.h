// Tiles of quantised weights times int8 activations, for the files that multiply with them.
#pragma once
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "ops/tiles.h"
#include "ops/unpack.h"

namespace wayra {
// Each file has its own: what is called once then goes into its caller, and its registers with it.
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

// Those of two panels, as they are packed: unpacked as they are needed, because the registers hold the sums of both.
template <class P>
struct PackedPair {
  static constexpr int kPanels = 2;
  const uint8_t* codes[2];

  template <int Q>
  B quad(int panel) const {
    return P::template quad<Q>(codes[panel]);
  }
};

// Those of two panels, unpacked to memory.
struct BytesPair {
  static constexpr int kPanels = 2;
  const uint8_t (*codes)[512];

  template <int Q>
  B quad(int panel) const {
    return simd::load_bytes(codes[panel] + 64 * Q);
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
    // Row by row where the registers do not hold a second sum of every row.
    constexpr int K = simd::kAccumulators >= 16 && !Fine ? R : 1;
    for (int top = 0; top < R; top += K) {
      const int64_t entry = at + top;
      I dots[N][K];
      F both[N][K];
      dot_group<P, Fine, K, 0, 4>(dots, codes, x, entry, [&](int r) { return x.neg_sum16[2 * (entry + r)]; });
#pragma GCC unroll 8
      for (int r = 0; r < K; ++r) {
        for (int n = 0; n < N; ++n) both[n][r] = simd::mul(simd::to_float(dots[n][r]), s[n].half[0]);
      }
      dot_group<P, Fine, K, 4, 8>(dots, codes, x, entry, [&](int r) { return x.neg_sum16[2 * (entry + r) + 1]; });
#pragma GCC unroll 8
      for (int r = 0; r < K; ++r) {
        for (int n = 0; n < N; ++n) {
          both[n][r] = simd::fma(simd::to_float(dots[n][r]), s[n].half[1], both[n][r]);
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

// The one scale of each row of a panel, where a format has it.
template <class P, int R>
inline void scale_rows(const uint8_t* scales, F acc[R]) {
  if constexpr (P::kRowScale) {
    Scales s;
    P::scales(scales, 0, s);
    for (int r = 0; r < R; ++r) acc[r] = simd::mul(acc[r], s.d);
  }
}

template <class P, bool Fine, int R>
void quantised_tile(const LinearArgs& a, int panel, int64_t row) {
  const int64_t panel_bytes = a.weight->panel_bytes;
  const uint8_t* codes = a.weight->data + panel * panel_bytes;
  const uint8_t* scales = codes + a.weight->scale_offset;
  const Part whole{0, a.x->groups, true};
  F acc[1][R];
  take_sums<1, R>(whole, acc);
  const TileRows x(*a.x, row);
  const int64_t stride = panel_bytes / a.x->groups;
  const bool first_tile = row == a.row_begin;  // later ones find the panel in the cache
  std::optional<PanelStream> stream;
  // Below eight bits scales are so large a part that they are asked for on their own.
  if (first_tile && P::kCodeBytes < 512 && panel_bytes > kPrefetchFar) {
    stream.emplace(*a.weight, codes, a.x->groups);
  }
  for (int g = 0; g < a.x->groups; ++g) {
    if (stream) {
      stream->fetch();
    } else if (first_tile) {
      prefetch(codes + g * stride, stride);
    }
    Scales s;
    P::scales(scales, g, s);
    const Unpacked<P> group(codes + static_cast<int64_t>(g) * P::kCodeBytes);
    add_group<P, Fine, R>(acc, group, &s, x, static_cast<int64_t>(g) * kTileRows);
  }
  scale_rows<P, R>(scales, acc[0]);
  give_sums<1, R>(a, panel, row, whole, acc);
}

// A block of two panels, read as it is packed.
template <class P>
struct PackedBlock {
  static constexpr int32_t kMostGroups = std::numeric_limits<int32_t>::max();
  const uint8_t* codes;
  int64_t panel_bytes, scale_offset;

  PackedBlock(const LinearArgs& a, int panel, const Part&)
      : codes(a.weight->data + panel * a.weight->panel_bytes),
        panel_bytes(a.weight->panel_bytes),
        scale_offset(a.weight->scale_offset) {}

  PackedPair<P> pair(int g) const {
    const uint8_t* group = codes + static_cast<int64_t>(g) * P::kCodeBytes;
    return {{group, group + panel_bytes}};
  }
  void scales(int g, int n, Scales& s) const { P::scales(codes + n * panel_bytes + scale_offset, g, s); }
};

// The same of formats that take long to unpack: codes as bytes and scales as floats, once for all rows.
template <class P>
struct UnpackedBlock {
  static constexpr int32_t kMostGroups = 24;  // what stays in the first cache beside the rows that pass
  static constexpr int kVectors = P::kHalfScales ? (P::kOffsetShift < 0 ? 4 : 2) : P::kHasMin ? 2 : 1;
  struct Group {
    alignas(64) uint8_t codes[2][512];
    F factors[2][kVectors];
  };
  Group groups[kMostGroups];
  int first;

  UnpackedBlock(const LinearArgs& a, int panel, const Part& part) : first(part.begin) {
    for (int g = part.begin; g < part.end; ++g) {
      for (int n = 0; n < 2; ++n) {
        const uint8_t* from = a.weight->data + (panel + n) * a.weight->panel_bytes;
        const Unpacked<P> group(from + static_cast<int64_t>(g) * P::kCodeBytes);
        Group& to = groups[g - first];
        for (int q = 0; q < 8; ++q) simd::store_bytes(to.codes[n] + 64 * q, group.w[q]);
        Scales s;
        P::scales(from + a.weight->scale_offset, g, s);
        each_factor(s, to.factors[n], [](F& scale, F& factor) { factor = scale; });
      }
    }
  }

  BytesPair pair(int g) const { return {groups[g - first].codes}; }
  void scales(int g, int n, Scales& s) const {
    each_factor(s, groups[g - first].factors[n], [](F& scale, const F& factor) { scale = factor; });
  }

  template <class Factor, class Move>
  static void each_factor(Scales& s, Factor* v, Move move) {
    if constexpr (P::kHalfScales) {
      for (int h = 0; h < 2; ++h) move(s.half[h], v[h]);
      if constexpr (kVectors == 4) {
        for (int h = 0; h < 2; ++h) move(s.m_half[h], v[2 + h]);
      }
    } else {
      move(s.d, v[0]);
      if constexpr (P::kHasMin) move(s.m, v[1]);
    }
  }
};

template <class P, int R, class Block>
void pair_tile(const LinearArgs& a, int panel, int64_t row, Part part, const Block& block) {
  F acc[2][R];
  take_sums<2, R>(part, acc);
  const TileRows x(*a.x, row);
  for (int g = part.begin; g < part.end; ++g) {
    part.ahead.fetch();
    Scales s[2];
    for (int n = 0; n < 2; ++n) block.scales(g, n, s[n]);
    add_group<P, false, R>(acc, block.pair(g), s, x, static_cast<int64_t>(g) * kTileRows);
  }
  if (part.last) {
    for (int n = 0; n < 2; ++n) {
      scale_rows<P, R>(a.weight->data + (panel + n) * a.weight->panel_bytes + a.weight->scale_offset, acc[n]);
    }
  }
  give_sums<2, R>(a, panel, row, part, acc);
}

template <class P, bool Fine>
struct QuantisedTile {
  // Fine activations are those of the head: a few rows a step.
  static constexpr int kMaxRows = Fine ? 4 : simd::kMaxRows;
  static constexpr int kPairRows = simd::kAccumulators >= 16 && !Fine ? 4 : 0;
  using Block = std::conditional_t<P::kUnpackFirst, UnpackedBlock<P>, PackedBlock<P>>;
  template <int R>
  static void run(const LinearArgs& a, int panel, int64_t row) {
    quantised_tile<P, Fine, R>(a, panel, row);
  }
  template <int R>
  static void pair(const LinearArgs& a, int panel, int64_t row, const Part& part, const Block& block) {
    pair_tile<P, R>(a, panel, row, part, block);
  }
};

template <class P>
void multiply(const LinearArgs& a) {
  if (a.x->low) return cover(a, QuantisedTile<P, true>{});
  cover(a, QuantisedTile<P, false>{});
}
}  // namespace
}  // namespace wayra
