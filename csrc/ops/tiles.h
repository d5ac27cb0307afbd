// Matrix times activations, tile by tile. A tile is one panel (16 weight rows, one per lane) times a few activation
// rows; each lane accumulates its own output, so nothing is ever added across lanes. The arithmetic of an output
// element, and its order, is the same in every tile shape: results do not depend on how many rows are computed
// together.
#pragma once
#include <algorithm>

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

// The same for a panel longer than kPrefetchFar, a group after the other. Its codes and scales are two streams, far
// apart: each is followed on its own, into the next panel's.
class PanelStream {
 public:
  PanelStream(const PackedMatrix& m, const uint8_t* panel, int64_t groups)
      : code_bytes_(m.scale_offset / groups), scale_bytes_((m.panel_bytes - m.scale_offset) / groups) {
    const int64_t ahead = kPrefetchFar / (code_bytes_ + scale_bytes_);
    before_turn_ = groups - ahead;
    near_ = panel + 2 * kPrefetchNear;
    far_ = panel + ahead * code_bytes_;
    far_scales_ = panel + m.scale_offset + ahead * scale_bytes_;
    next_ = panel + m.panel_bytes;
    next_scales_ = next_ + m.scale_offset;
  }

  void fetch() {
    if (before_turn_-- == 0) far_ = next_, far_scales_ = next_scales_;
    for (int64_t i = 0; i < code_bytes_; i += 64) {
      __builtin_prefetch(far_ + i, 0, 2);
      __builtin_prefetch(near_ + i, 0, 3);
    }
    __builtin_prefetch(far_scales_, 0, 2);
    far_ += code_bytes_;
    near_ += code_bytes_;
    far_scales_ += scale_bytes_;
  }

 private:
  int64_t code_bytes_, scale_bytes_, before_turn_;
  const uint8_t *near_, *far_, *far_scales_, *next_, *next_scales_;
};

// What lies ahead in the two panels of a tile, `apart` bytes from each other: some lines of both with every group.
struct Ahead {
  const uint8_t* at = nullptr;
  int64_t apart = 0;
  int64_t lines = 0;

  void fetch() {
    for (int64_t i = 0; i < lines; ++i, at += 64) {
      __builtin_prefetch(at, 0, 2);
      __builtin_prefetch(at + apart, 0, 2);
    }
  }
};

// The groups of k that a tile takes at once, and where its sums wait between two such blocks.
struct Part {
  int32_t begin, end;
  bool last;
  float* sums = nullptr;  // [rows of the tile][panels][16]
  Ahead ahead = {};
};

// A block of two panels of a format of sixteen bits, read as it is packed.
struct WordBlock {
  static constexpr int32_t kMostGroups = 64;
  WordBlock(const LinearArgs&, int, const Part&) {}
};

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

// The sums of a tile as the blocks before this one left them.
template <int N, int R>
inline void take_sums(const Part& part, F acc[][R]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n)
      acc[n][r] = part.begin == 0 ? simd::zero() : simd::load(part.sums + (r * N + n) * kLanes);
  }
}

// Leaves them to the next block, or writes them where it was the last.
template <int N, int R>
inline void give_sums(const LinearArgs& a, int panel, int64_t row, const Part& part, const F acc[][R]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) {
      if (part.last) {
        write_row(a, panel + n, row + r, acc[n][r]);
      } else {
        simd::store(part.sums + (r * N + n) * kLanes, acc[n][r]);
      }
    }
  }
}

// Covers the rows from `row` on with tiles of one panel and all of its groups.
template <class Tile>
void cover_panel(const LinearArgs& a, Tile tile, int panel, int64_t row) {
  const int64_t end = a.row_end;
  if constexpr (Tile::kMaxRows >= 8) {
    for (; row + 8 <= end; row += 8) tile.template run<8>(a, panel, row);
  }
  for (; row + 4 <= end; row += 4) tile.template run<4>(a, panel, row);
  for (; row + 2 <= end; row += 2) tile.template run<2>(a, panel, row);
  for (; row < end; ++row) tile.template run<1>(a, panel, row);
}

constexpr int64_t kPairedRows = 192;  // whose sums wait together

// Covers rows [begin, end), a multiple of kPairRows and at most kPairedRows of them, with tiles of two panels: what is
// loaded of a row serves two products. Of k a block at a time, as much as stays in the first cache (words: in the
// second) while all rows pass it; the next block is asked for meanwhile, so that no tile waits for memory.
template <class Tile>
void cover_pair(const LinearArgs& a, Tile tile, int panel, int64_t begin, int64_t end) {
  alignas(64) float sums[kPairedRows * 2 * kLanes];
  const int64_t panel_bytes = a.weight->panel_bytes;
  const int32_t groups = a.x->groups;
  const int64_t code_bytes = a.weight->scale_offset / groups,
                scale_bytes = (panel_bytes - a.weight->scale_offset) / groups;
  const int64_t tiles = (end - begin) / Tile::kPairRows;
  const int32_t most = std::min(Tile::Block::kMostGroups, groups), blocks = (groups + most - 1) / most;
  const int32_t size = (groups + blocks - 1) / blocks;
  for (int32_t from = 0; from < groups; from += size) {
    Part part{from, std::min(from + size, groups), from + size >= groups};
    const typename Tile::Block block(a, panel, part);
    // The next block is of these panels, or the first of the next two.
    const uint8_t* next = a.weight->data + (part.last ? panel + 2 : panel) * panel_bytes;
    const int32_t group = part.last ? 0 : part.end;
    const int32_t count = std::min(size, groups - group);
    const int64_t lines = (count * code_bytes + 63) / 64, steps = tiles * (part.end - part.begin);
    int64_t left = part.last && (panel + 4) * kLanes > a.weight->rows ? 0 : lines;
    if (left > 0) {
      for (int64_t i = group * scale_bytes; i < (group + count) * scale_bytes; i += 64) {
        for (int n = 0; n < 2; ++n) __builtin_prefetch(next + n * panel_bytes + a.weight->scale_offset + i, 0, 2);
      }
    }
    part.ahead = {next + group * code_bytes, panel_bytes, (lines + steps - 1) / steps};
    part.sums = sums;
    for (int64_t row = begin; row < end; row += Tile::kPairRows) {
      if (left <= 0) part.ahead.lines = 0;
      tile.template pair<Tile::kPairRows>(a, panel, row, part, block);
      const int64_t taken = part.ahead.lines * (part.end - part.begin);
      left -= taken;
      part.ahead.at += 64 * taken;
      part.sums += Tile::kPairRows * 2 * kLanes;
    }
  }
}

// Covers the rows with tiles of 8, 4, 2 and 1 (up to kMaxRows), panel by panel so that a panel stays in the cache.
// row_begin is a multiple of 8, so that no tile crosses one of the activations'. Many rows go in tiles of kPairRows
// rows and two panels, where the processor gains by it.
template <class Tile>
void cover(const LinearArgs& a, Tile tile) {
  int panel = a.panel_begin;
  if constexpr (Tile::kPairRows > 0) {
    const int64_t paired = (a.row_end - a.row_begin) / Tile::kPairRows * Tile::kPairRows;
    if (a.pair_panels && paired >= 2 * kTileRows) {
      for (; panel + 2 <= a.panel_end; panel += 2) {
        const int64_t end = a.row_begin + paired;
        for (int64_t row = a.row_begin; row < end; row += kPairedRows) {
          cover_pair(a, tile, panel, row, std::min(row + kPairedRows, end));
        }
        for (int n = 0; n < 2; ++n) cover_panel(a, tile, panel + n, end);
      }
    }
  }
  for (; panel < a.panel_end; ++panel) cover_panel(a, tile, panel, a.row_begin);
}

}  // namespace wayra
