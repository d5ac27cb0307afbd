// Products of integers of 14 bits, a scale for 32 of them: float16 weights with activations rounded as finely. Sums of
// a group are exact, and a product of two pairs takes the time of one of floats.
#include "ops/kernels.h"
#include "ops/tiles.h"

namespace wayra {
namespace {
constexpr int kPairs = kGroup / 2;
constexpr int64_t kCodeBytes = kPairs * 64;  // of a group of a panel
constexpr int64_t kScaleBytes = 2 * kLanes;

// dots[n * R + r]: the group of panel n, at codes + n * panel_bytes, times row r's words at a + 32 * r. Few products
// take several sums each, so that no chain of dependent ones is longer than memory takes; integers add up to the same
// in any order. What is loaded of a row serves every panel.
template <int N, int R>
inline void dot_group(I* dots, const uint8_t* codes, int64_t panel_bytes, const int16_t* a) {
  constexpr int kChains = N * R >= 4 ? 1 : 4 / (N * R);
  I sums[N * R][kChains];
  for (int i = 0; i < N * R; ++i) {
    for (int c = 0; c < kChains; ++c) sums[i][c] = simd::zeroi();
  }
#pragma GCC unroll 16
  for (int p = 0; p < kPairs; ++p) {
    B w[N];
    for (int n = 0; n < N; ++n) w[n] = simd::load_bytes(codes + n * panel_bytes + 64 * p);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) {
        I& sum = sums[n * R + r][p % kChains];
        sum = simd::dot_words(sum, w[n], a + r * kGroup + 2 * p);
      }
    }
  }
  for (int i = 0; i < N * R; ++i) {
    dots[i] = sums[i][0];
    for (int c = 1; c < kChains; ++c) dots[i] = simd::addi(dots[i], sums[i][c]);
  }
}

template <int N, int R>
void word_tile(const LinearArgs& a, int panel, int64_t row, Part part) {
  const int64_t panel_bytes = a.weight->panel_bytes;
  const uint8_t* codes = a.weight->data + panel * panel_bytes;
  const uint8_t* scales = codes + a.weight->scale_offset;
  const int64_t first = a.x->at(row, 0);
  const int16_t* words = a.x->words + first * kGroup;
  const float* word_scale = a.x->word_scale + first;
  const bool first_tile = N == 1 && row == a.row_begin;  // later ones find the panels in the cache
  F acc[N][R];
  take_sums<N, R>(part, acc);
  for (int g = part.begin; g < part.end; ++g) {
    if constexpr (N == 2) part.ahead.fetch();
    if (first_tile) prefetch(codes + g * (kCodeBytes + kScaleBytes), kCodeBytes + kScaleBytes);
    const int16_t* at = words + static_cast<int64_t>(g) * kTileRows * kGroup;
    const float* scale = word_scale + static_cast<int64_t>(g) * kTileRows;
    const uint8_t* group = codes + g * kCodeBytes;
    F d[N];
    for (int n = 0; n < N; ++n) {
      d[n] = simd::load_bf16(reinterpret_cast<const uint16_t*>(scales + n * panel_bytes) + g * kLanes);
    }
    I dots[N][R];
    if constexpr (simd::kAccumulators >= 16) {
      dot_group<N, R>(dots[0], group, panel_bytes, at);
    } else {
      // Row by row: all sums at once would not fit the registers.
      for (int r = 0; r < R; ++r) dot_group<1, 1>(dots[0] + r, group, panel_bytes, at + r * kGroup);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) {
        acc[n][r] = simd::fma(simd::to_float(dots[n][r]), simd::mul(d[n], simd::set1(scale[r])), acc[n][r]);
      }
    }
  }
  give_sums<N, R>(a, panel, row, part, acc);
}

struct WordTile {
  static constexpr int kMaxRows = simd::kMaxRows;
  static constexpr int kPairRows = simd::kAccumulators >= 16 ? 4 : 0;
  using Block = WordBlock;
  template <int R>
  static void run(const LinearArgs& a, int panel, int64_t row) {
    word_tile<1, R>(a, panel, row, {0, a.x->groups, true});
  }
  template <int R>
  static void pair(const LinearArgs& a, int panel, int64_t row, const Part& part, const Block&) {
    word_tile<2, R>(a, panel, row, part);
  }
};
}  // namespace

void linear_words(const LinearArgs& a) { cover(a, WordTile{}); }
}  // namespace wayra
