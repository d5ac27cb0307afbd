// Products of floats: float32 weights, and bfloat16 ones with activations in bfloat16 or, where they are not, in
// float32.
#include "ops/kernels.h"
#include "ops/tiles.h"

namespace wayra {
namespace {
// Pairs of consecutive k of sixteen rows.
constexpr int64_t kPairBytes = 4 * kLanes;

template <int R>
void float_tile(const LinearArgs& a, int panel, int64_t row) {
  const auto* w = reinterpret_cast<const float*>(a.weight->data + panel * a.weight->panel_bytes);
  const int64_t cols = a.weight->cols;
  const float* x = a.x->f32 + row * cols;
  F acc[R];
  for (int r = 0; r < R; ++r) acc[r] = simd::zero();
  for (int64_t k = 0; k < cols; ++k) {
    const F v = simd::load(w + k * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[r] = simd::fma(v, simd::set1(x[r * cols + k]), acc[r]);
  }
  for (int r = 0; r < R; ++r) write_row(a, panel, row + r, acc[r]);
}

template <int N, int R>
void bf16_tile(const LinearArgs& a, int panel, int64_t row, Part part) {
  const int64_t panel_bytes = a.weight->panel_bytes;
  const uint8_t* w = a.weight->data + panel * panel_bytes + part.begin * (kGroup / 2 * kPairBytes);
  const uint16_t* x = a.x->bf16 + a.x->at(row, part.begin) * kGroup;
  const bool first_tile = N == 1 && row == a.row_begin;  // later ones find the panels in the cache
  F acc[N][R];
  take_sums<N, R>(part, acc);
  for (int g = part.begin; g < part.end; ++g) {
    if constexpr (N == 2) part.ahead.fetch();
    if (first_tile) prefetch(w, kGroup / 2 * kPairBytes);
#pragma GCC unroll 16
    for (int p = 0; p < kGroup / 2; ++p) {
      B pair[N];
      for (int n = 0; n < N; ++n) pair[n] = simd::load_bytes(w + n * panel_bytes);
      w += kPairBytes;
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        uint32_t both;
        __builtin_memcpy(&both, x + r * kGroup + 2 * p, sizeof both);
        for (int n = 0; n < N; ++n) acc[n][r] = simd::dot_bf16(acc[n][r], pair[n], both);
      }
    }
    x += kTileRows * kGroup;
  }
  give_sums<N, R>(a, panel, row, part, acc);
}

// The same weights with every bit of the activations: the output head, where a step waits for memory anyway.
template <int R>
void bf16_by_float_tile(const LinearArgs& a, int panel, int64_t row) {
  const uint8_t* w = a.weight->data + panel * a.weight->panel_bytes;
  const int64_t cols = a.weight->cols;
  const float* x = a.x->f32 + row * cols;
  const bool first_tile = row == a.row_begin;
  F acc[R];
  for (int r = 0; r < R; ++r) acc[r] = simd::zero();
  for (int64_t k = 0; k < cols; k += 2) {
    if (first_tile) prefetch(w, kPairBytes);
    const B pair = simd::load_bytes(w);
    w += kPairBytes;
    const F even = simd::low_bf16(pair);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[r] = simd::fma(even, simd::set1(x[r * cols + k]), acc[r]);
    if (k + 1 == cols) break;
    const F odd = simd::high_bf16(pair);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[r] = simd::fma(odd, simd::set1(x[r * cols + k + 1]), acc[r]);
  }
  for (int r = 0; r < R; ++r) write_row(a, panel, row + r, acc[r]);
}

struct FloatTile {
  static constexpr int kMaxRows = simd::kMaxRows;
  static constexpr int kPairRows = 0;
  template <int R>
  static void run(const LinearArgs& a, int panel, int64_t row) {
    float_tile<R>(a, panel, row);
  }
};
struct BF16Tile {
  static constexpr int kMaxRows = simd::kMaxRows;
  static constexpr int kPairRows = simd::kAccumulators >= 16 ? 8 : 0;
  using Block = WordBlock;
  template <int R>
  static void run(const LinearArgs& a, int panel, int64_t row) {
    bf16_tile<1, R>(a, panel, row, {0, a.x->groups, true});
  }
  template <int R>
  static void pair(const LinearArgs& a, int panel, int64_t row, const Part& part, const Block&) {
    bf16_tile<2, R>(a, panel, row, part);
  }
};
struct BF16ByFloatTile {
  static constexpr int kMaxRows = simd::kMaxRows;
  static constexpr int kPairRows = 0;
  template <int R>
  static void run(const LinearArgs& a, int panel, int64_t row) {
    bf16_by_float_tile<R>(a, panel, row);
  }
};
}  // namespace

void linear_float(const LinearArgs& a) {
  if (a.weight->format == Format::kF32) return cover(a, FloatTile{});
  if (a.x->bf16) return cover(a, BF16Tile{});
  cover(a, BF16ByFloatTile{});
}
}  // namespace wayra
