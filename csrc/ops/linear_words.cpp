// Products of integers of 14 bits, a scale for 32 of them: float16 weights with activations rounded as finely. Sums of
// a group are exact, and a product of two pairs takes the time of one of floats.
#include "ops/kernels.h"
#include "ops/tiles.h"

namespace wayra {
namespace {
constexpr int kPairs = kGroup / 2;
constexpr int64_t kCodeBytes = kPairs * 64;  // of a group of a panel
constexpr int64_t kScaleBytes = 2 * kLanes;

// The group at `codes` times row r's words at a + 32 * r. Few rows take several sums each, so that no chain of
// dependent products is longer than memory takes; integers add up to the same in any order.
template <int R>
inline void dot_group(I dots[R], const uint8_t* codes, const int16_t* a) {
  constexpr int kChains = R >= 4 ? 1 : 4 / R;
  I sums[R][kChains];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < kChains; ++c) sums[r][c] = simd::zeroi();
  }
#pragma GCC unroll 16
  for (int p = 0; p < kPairs; ++p) {
    const B w = simd::load_bytes(codes + 64 * p);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      sums[r][p % kChains] = simd::dot_words(sums[r][p % kChains], w, a + r * kGroup + 2 * p);
    }
  }
  for (int r = 0; r < R; ++r) {
    dots[r] = sums[r][0];
    for (int c = 1; c < kChains; ++c) dots[r] = simd::addi(dots[r], sums[r][c]);
  }
}

// Two panels of four rows: what is loaded of a row serves two products.
template <int R>
inline void dot_pair(I dots[2][R], const uint8_t* const codes[2], const int16_t* a) {
  for (int r = 0; r < R; ++r) dots[0][r] = dots[1][r] = simd::zeroi();
#pragma GCC unroll 16
  for (int p = 0; p < kPairs; ++p) {
    const B first = simd::load_bytes(codes[0] + 64 * p), second = simd::load_bytes(codes[1] + 64 * p);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      dots[0][r] = simd::dot_words(dots[0][r], first, a + r * kGroup + 2 * p);
      dots[1][r] = simd::dot_words(dots[1][r], second, a + r * kGroup + 2 * p);
    }
  }
}

template <int N, int R>
void word_tile(const LinearArgs& a, int panel, int64_t row) {
  const int64_t panel_bytes = a.weight->panel_bytes;
  const uint8_t* codes = a.weight->data + panel * panel_bytes;
  const uint8_t* scales = codes + a.weight->scale_offset;
  const int64_t first = a.x->at(row, 0);
  const int16_t* words = a.x->words + first * kGroup;
  const float* word_scale = a.x->word_scale + first;
  const bool first_tile = N == 1 && row == a.row_begin;  // later ones find the panels in the cache
  F acc[N][R];
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) acc[n][r] = simd::zero();
  }
  for (int g = 0; g < a.x->groups; ++g) {
    if (first_tile) prefetch(codes + g * (kCodeBytes + kScaleBytes), kCodeBytes + kScaleBytes);
    const int16_t* at = words + static_cast<int64_t>(g) * kTileRows * kGroup;
    const float* scale = word_scale + static_cast<int64_t>(g) * kTileRows;
    const uint8_t* group = codes + g * kCodeBytes;
    F d[N];
    for (int n = 0; n < N; ++n) {
      d[n] = simd::load_bf16(reinterpret_cast<const uint16_t*>(scales + n * panel_bytes) + g * kLanes);
    }
    I dots[N][R];
    if constexpr (N == 2) {
      const uint8_t* const both[2] = {group, group + panel_bytes};
      dot_pair<R>(dots, both, at);
    } else if constexpr (simd::kAccumulators >= 16) {
      dot_group<R>(dots[0], group, at);
    } else {
      // Row by row: all sums at once would not fit the registers.
      for (int r = 0; r < R; ++r) dot_group<1>(dots[0] + r, group, at + r * kGroup);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) {
        acc[n][r] = simd::fma(simd::to_float(dots[n][r]), simd::mul(d[n], simd::set1(scale[r])), acc[n][r]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) write_row(a, panel + n, row + r, acc[n][r]);
  }
}

struct WordTile {
  static constexpr int kMaxRows = simd::kMaxRows;
  static constexpr int kPairRows = simd::kAccumulators >= 16 ? 4 : 0;
  template <int N, int R>
  static void run(const LinearArgs& a, int panel, int64_t row) {
    word_tile<N, R>(a, panel, row);
  }
};
}  // namespace

void linear_words(const LinearArgs& a) { cover(a, WordTile{}); }
}  // namespace wayra
