// Matrix times activations, tile by tile. A tile is one panel (16 weight rows, one per lane) times a few activation
// rows; each lane accumulates its own output, so nothing is ever added across lanes. The arithmetic of an output
// element, and its order, is the same in every tile shape: results do not depend on how many rows are computed
// together.
#pragma once
#include "ops/simd.h"

namespace wayra {
using simd::B;
using simd::F;
using simd::I;

// With few rows the weights' stream from memory is the limit, and the hardware prefetcher alone does not fill it.
// Far ahead into the second cache, whose misses are not held up by the few buffers of the first; near into the first.
constexpr int64_t kPrefetchFar = 32 << 10;
constexpr int64_t kPrefetchNear = 2 << 10;

// Asks for what lies ahead of the next `bytes`.
inline void prefetch(const uint8_t* here, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) {
    __builtin_prefetch(here + kPrefetchFar + i, 0, 2);
    __builtin_prefetch(here + kPrefetchNear + i, 0, 3);
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

// Covers the rows from `row` on with tiles of one panel.
template <class Tile>
void cover_panel(const LinearArgs& a, Tile tile, int panel, int64_t row) {
  const int64_t end = a.row_end;
  if constexpr (Tile::kMaxRows >= 8) {
    for (; row + 8 <= end; row += 8) tile.template run<1, 8>(a, panel, row);
  }
  for (; row + 4 <= end; row += 4) tile.template run<1, 4>(a, panel, row);
  for (; row + 2 <= end; row += 2) tile.template run<1, 2>(a, panel, row);
  for (; row < end; ++row) tile.template run<1, 1>(a, panel, row);
}

// Covers the rows with tiles of 8, 4, 2 and 1 (up to kMaxRows), panel by panel so that a panel stays in the cache.
// row_begin is a multiple of 8, so that no tile crosses one of the activations'. Rows behind the first tile, which
// waits for the weights, go in tiles of kPairRows rows and two panels: what is loaded of a row serves two products.
template <class Tile>
void cover(const LinearArgs& a, Tile tile) {
  int panel = a.panel_begin;
  if constexpr (Tile::kPairRows > 0) {
    const int64_t first = a.row_begin + kTileRows;
    const int64_t paired = a.pair_panels ? (a.row_end - first) / Tile::kPairRows * Tile::kPairRows : 0;
    for (; paired > 0 && panel + 2 <= a.panel_end; panel += 2) {
      for (int n = 0; n < 2; ++n) tile.template run<1, kTileRows>(a, panel + n, a.row_begin);
      for (int64_t row = first; row < first + paired; row += Tile::kPairRows) {
        tile.template run<2, Tile::kPairRows>(a, panel, row);
      }
      for (int n = 0; n < 2; ++n) cover_panel(a, tile, panel + n, first + paired);
    }
  }
  for (; panel < a.panel_end; ++panel) cover_panel(a, tile, panel, a.row_begin);
}

}  // namespace wayra
