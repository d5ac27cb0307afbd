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

template <int R>
void word_tile(const LinearArgs& a, int panel, int64_t row) {
  const uint8_t* codes = a.weight->data + panel * a.weight->panel_bytes;
  const auto* scales = reinterpret_cast<const uint16_t*>(codes + a.weight->scale_offset);
  const int64_t first = a.x->at(row, 0);
  const int16_t* words = a.x->words + first * kGroup;
  const float* word_scale = a.x->word_scale + first;
  const bool first_tile = row == a.row_begin;  // later ones find the panel in the cache
  const uint8_t* here = codes;
  F acc[R];
  for (int r = 0; r < R; ++r) acc[r] = simd::zero();
  for (int g = 0; g < a.x->groups; ++g) {
    if (first_tile) here = prefetch(here, kCodeBytes + kScaleBytes);
    const int16_t* at = words + static_cast<int64_t>(g) * kTileRows * kGroup;
    const float* scale = word_scale + static_cast<int64_t>(g) * kTileRows;
    const F d = simd::load_bf16(scales + g * kLanes);
    I dots[R];
    if constexpr (simd::kAccumulators >= 16) {
      dot_group<R>(dots, codes + g * kCodeBytes, at);
    } else {
      // Row by row: all sums at once would not fit the registers.
      for (int r = 0; r < R; ++r) dot_group<1>(dots + r, codes + g * kCodeBytes, at + r * kGroup);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[r] = simd::fma(simd::to_float(dots[r]), simd::mul(d, simd::set1(scale[r])), acc[r]);
  }
  for (int r = 0; r < R; ++r) write_row(a, panel, row + r, acc[r]);
}

struct WordTile {
  static constexpr int kMaxRows = simd::kMaxRows;
  template <int R>
  static void run(const LinearArgs& a, int panel, int64_t row) {
    word_tile<R>(a, panel, row);
  }
};
}  // namespace

void linear_words(const LinearArgs& a) { cover(a, WordTile{}); }
}  // namespace wayra
