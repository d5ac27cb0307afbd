// Attention of a few query rows of one KV head over splits of 256 keys, and the merging of splits.
//
// Keys are lanes of K and dimensions are lanes of V (layout: KvView in core/abi.h), so scores and outputs are chains of
// multiply-adds and nothing is added across lanes. Splits start at multiples of 256 and are merged in order, whoever
// computed them: prefill, decode and any chunking go through the same arithmetic. How elements of each type are
// multiplied, and what is rounded beside them: ops/cached.h.
// Source: FlashAttention (Dao et al. 2022), FlashDecoding.
#include <type_traits>

#include "ops/cached.h"
#include "ops/kernels.h"
#include "ops/simd.h"

namespace wayra {
namespace {
using simd::F;

struct Range {
  int lo, hi;  // keys of the split that a row sees
};

Range row_range(const AttentionArgs& a, int split, int row) {
  const int position = a.first_position + row / a.ratio;
  const int first_key = split * kSplitKeys;
  const int hi = position + 1 - first_key;
  const int lo = a.window > 0 ? position + 1 - a.window - first_key : 0;
  return {lo < 0 ? 0 : lo, hi > kSplitKeys ? kSplitKeys : hi};
}

const float* query(const AttentionArgs& a, int row) {
  return a.q + row / a.ratio * a.q_token_stride + static_cast<int64_t>(row % a.ratio) * a.kv.head_dim;
}

// Floats between the rows of a tile's queries: known when compiling, so that one pointer serves all rows, and no power
// of two, so that they do not fall into the same lines of the cache.
template <class E>
constexpr int kQueryStride = kMaxHeadDim / E::kDims + kLanes;

// Scalar `step` of what copy_query or put left at p.
template <class E>
typename E::Scalar scalar(const float* p, int step) {
  typename E::Scalar s;
  __builtin_memcpy(&s, p + step, sizeof s);
  return s;
}

// A tile's query rows.
template <class E, int R>
struct Queries {
  alignas(64) float of[R][kQueryStride<E>];
  RowScales scales[R];
};

// The blocks of KV behind a range of keys of the split.
class Blocks {
 public:
  Blocks(const AttentionArgs& a, int split)
      : Blocks(a.kv, a.kv.base, a.block_table + split * (kSplitKeys / kKvBlock)) {}
  Blocks(const KvView& kv, const uint8_t* base, const int32_t* table) : base_(base), table_(table), kv_(kv) {}
  const uint8_t* keys(int key) const { return base_ + table_[key / kKvBlock] * kv_.block_stride; }
  const uint8_t* values(int key) const { return keys(key) + kv_.v_offset; }
  // Of a block's keys and values, where they are integers.
  const float* key_scales(int key) const { return reinterpret_cast<const float*>(keys(key) + kv_.key_scales()); }
  const float* value_scales(int key) const { return reinterpret_cast<const float*>(values(key) + kv_.value_scales()); }

 private:
  const uint8_t* base_;
  const int32_t* table_;
  const KvView& kv_;
};

// Fetches n bytes of what is read a split later into the second cache: the buffers of the first one's misses are too
// few to hide the latency of memory.
inline void fetch_early(const uint8_t* at, int n) {
  for (int i = 0; i < n; i += 64) __builtin_prefetch(at + i, 0, 2);
}

// scores[r][key] for the blocks that hold keys [lo, hi), and the largest lanes of each row in all of them. While a
// block is read the next one is fetched, after the last the first values, and its own values early: with few rows the
// cache's stream from memory is the limit.
template <class E, int R>
void score_keys(const AttentionArgs& a, const Blocks& blocks, const Queries<E, R>& queries, Range keys, float* scores,
                F* largest) {
  for (int r = 0; r < R; ++r) largest[r] = simd::set1(kUnseenMax);
  const int steps = (a.kv.head_dim + E::kDims - 1) / E::kDims;
  constexpr int kVector = kLanes * E::kDims;  // elements
  for (int key = keys.lo / kKvBlock * kKvBlock; key < keys.hi; key += kKvBlock) {
    const auto* k = reinterpret_cast<const typename E::T*>(blocks.keys(key));
    const uint8_t* ahead = key + kKvBlock < keys.hi ? blocks.keys(key + kKvBlock) : blocks.values(keys.lo);
    const uint8_t* values = blocks.values(key);
    typename E::Sum acc[R][2];
    for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = E::begin_score(queries.scales[r]);
    if constexpr (E::kScaled && R <= simd::kStreamRows) {
      fetch_early(reinterpret_cast<const uint8_t*>(blocks.value_scales(key)), kKvScaleBytes);
    }
    for (int d = 0; d < steps; ++d) {
      constexpr int kBytes = kVector * static_cast<int>(sizeof(typename E::T));
      if constexpr (R <= simd::kStreamRows || E::kDims < 4) {
        for (int i = 0; i < 2 * kBytes; i += 64) __builtin_prefetch(ahead + d * 2 * kBytes + i);
      }
      if constexpr (R <= simd::kStreamRows) {
        fetch_early(values + d * 2 * kBytes, 2 * kBytes);
      }
      const auto k0 = E::load_key(k + d * kVector);
      const auto k1 = E::load_key(k + (steps + d) * kVector);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const auto q = scalar<E>(queries.of[r], d);
        acc[r][0] = E::multiply_key(acc[r][0], k0, q);
        acc[r][1] = E::multiply_key(acc[r][1], k1, q);
      }
    }
    const float* key_scales = blocks.key_scales(key);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      for (int h = 0; h < 2; ++h) {
        const F score = E::score(acc[r][h], key_scales + h * kLanes, queries.scales[r]);
        simd::store(scores + r * kSplitKeys + key + h * kLanes, score);
        largest[r] = simd::max(largest[r], score);
      }
    }
  }
}

// The largest lanes of a row's scores among the keys of the tile that it sees.
F largest_seen(const float* scores, Range tile, Range row) {
  F largest = simd::set1(kUnseenMax);
  for (int at = tile.lo / kKvBlock * kKvBlock; at < tile.hi; at += kLanes) {
    largest = simd::max(largest, simd::select_range(simd::load(scores + at), row.lo - at, row.hi - at, kUnseenMax));
  }
  return largest;
}

// The softmax of a tile's rows: scores become 2^(score - max) in place, zero for the keys that a row does not see. What
// takes long within a lane's chain, the folding of lanes, is done for all rows together. A row's arithmetic does not
// depend on the tile it is in.
template <class E, int R>
class Softmax {
 public:
  // scores: [R][kSplitKeys] logarithms of base 2, largest: what score_keys found in all blocks of the tile.
  // Sets what the weighing of values needs in `scales`.
  Softmax(const AttentionArgs& a, const Blocks& blocks, float* scores, Range tile, int split, int row, const F* largest,
          RowScales* scales)
      : blocks_(blocks), scores_(scores), scales_(scales) {
    const Range whole{tile.lo / kKvBlock * kKvBlock, (tile.hi + kKvBlock - 1) / kKvBlock * kKvBlock};
    F lanes[R];
    for (int r = 0; r < R; ++r) {
      seen_[r] = row_range(a, split, row + r);
      const bool sees_all = seen_[r].lo <= whole.lo && seen_[r].hi >= whole.hi;
      lanes[r] = sees_all ? largest[r] : largest_seen(scores + r * kSplitKeys, tile, seen_[r]);
      sum_[r] = simd::zero();
    }
    for (int r = 0; r < R; ++r) max_[r] = sees_any(r) ? simd::reduce_max(lanes[r]) : kUnseenMax;
    if constexpr (E::kScaled) find_value_scales(whole);
  }

  const float* max() const { return max_; }

  // Row r of the block that begins with `key`; blocks in order.
  void soften(int r, int key) {
    float* row = scores_ + r * kSplitKeys;
    const F max = simd::set1(max_[r]);
    F p[2];
    for (int h = 0; h < 2; ++h) p[h] = E::exp2(simd::sub(simd::load(row + key + h * kLanes), max));
    if (seen_[r].lo > key || seen_[r].hi < key + kKvBlock) {
      for (int h = 0; h < 2; ++h) {
        const int at = key + h * kLanes;
        p[h] = simd::select_range(p[h], seen_[r].lo - at, seen_[r].hi - at, 0.0f);
      }
    }
    sum_[r] = E::put(row, key, p, E::kScaled ? blocks_.value_scales(key) : nullptr, scales_[r], sum_[r]);
  }

  // Of all blocks softened.
  void add_up(float* sum) const {
    for (int r = 0; r < R; ++r) sum[r] = sees_any(r) ? simd::reduce_add(sum_[r]) : 0.0f;
  }

 private:
  bool sees_any(int r) const { return seen_[r].hi > seen_[r].lo; }

  // The largest scale among the values that a row sees, whatever the tile.
  void find_value_scales(Range whole) {
    const auto found = [&](int at) { return simd::load(blocks_.value_scales(at) + at % kKvBlock); };
    // Vectors [common.lo, common.hi) are seen by all rows: the first row begins and ends first.
    const int lo = (seen_[R - 1].lo + kLanes - 1) / kLanes * kLanes, hi = seen_[0].hi / kLanes * kLanes;
    const Range common{lo, hi > lo ? hi : lo};
    F most = simd::zero();
    for (int at = common.lo; at < common.hi; at += kLanes) most = simd::max(most, found(at));
    const auto largest = [&](Range seen) {
      F lanes = most;
      const auto add = [&](int at) {
        lanes = simd::max(lanes, simd::select_range(found(at), seen.lo - at, seen.hi - at, 0.0f));
      };
      for (int at = whole.lo; at < common.lo && at < whole.hi; at += kLanes) add(at);
      for (int at = common.hi; at < whole.hi; at += kLanes) add(at);
      return simd::reduce_max(lanes);
    };
    for (int r = 0; r < R; ++r) {
      const bool like_last = r > 0 && seen_[r].lo == seen_[r - 1].lo && seen_[r].hi == seen_[r - 1].hi;
      if (like_last) {
        scales_[r].steps = scales_[r - 1].steps;
        scales_[r].step = scales_[r - 1].step;
      } else {
        E::set_steps(largest(seen_[r]), scales_[r]);
      }
    }
  }

  const Blocks& blocks_;
  float* scores_;
  RowScales* scales_;
  Range seen_[R];
  float max_[R];
  F sum_[R];
};

// What a split's results and those so far are multiplied with when they are merged.
struct Factors {
  float old[kMaxAttentionRows], split[kMaxAttentionRows];
};

// Updates the maximum of each row. Source: Milakov and Gimelshein 2018.
Factors merge_maxima(int rows, float* max, const float* split_max) {
  const F m = simd::load_first(max, rows), n = simd::load_first(split_max, rows);
  const F top = simd::max(m, n);
  Factors f;
  simd::store_first(f.old, simd::exp2(simd::sub(m, top)), rows);
  simd::store_first(f.split, simd::exp2(simd::sub(n, top)), rows);
  simd::store_first(max, top, rows);
  return f;
}

void merge_sums(int rows, float* sum, const float* split_sum, const Factors& f) {
  const F old = simd::mul(simd::load_first(sum, rows), simd::load_first(f.old, rows));
  simd::store_first(sum, simd::fma(simd::load_first(split_sum, rows), simd::load_first(f.split, rows), old), rows);
}

F merged(const float* old, F split, float a, float b) {
  return simd::fma(split, simd::set1(b), simd::mul(simd::load(old), simd::set1(a)));
}

// Keys of a split, and each row's probabilities of them.
struct Weighed {
  Blocks blocks;
  Range keys;
  const float* scores;
  int padded_dim;
  const RowScales* scales;
  Blocks next;  // of the keys that this thread reads after these values
  int next_keys;
};

// acc[r][dims] = sum over keys of p[r][key] * V[key][dims], C vectors of dims at a time; merged with what acc holds
// when there are factors. With a softmax, the probabilities come from it: a row of the next block now and then between
// the products of this one, whose units it hardly needs.
template <class E, int R, int C>
void weigh_values(const Weighed& w, int dim, float* acc_out, const Factors* f, Softmax<E, R>* softmax) {
  typename E::Sum acc[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) acc[r][c] = E::begin_value();
  }
  // Where integers hold the sums of a few keys only, floats take what they held.
  [[maybe_unused]] F total[R][C];
  if constexpr (E::kSumKeys > 0) {
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < C; ++c) total[r][c] = simd::zero();
    }
  }
  const auto empty_sums = [&] {
    if constexpr (E::kSumKeys > 0) {
      for (int r = 0; r < R; ++r) {
        for (int c = 0; c < C; ++c) {
          total[r][c] = simd::add(total[r][c], simd::to_float(simd::as_ints(acc[r][c])));
          acc[r][c] = E::begin_value();
        }
      }
    }
  };
  const int padded = w.padded_dim;
  const auto add = [&](const auto* row, int step, bool half) {
    decltype(E::load_value(row)) value[C];
    for (int c = 0; c < C; ++c) {
      value[c] = E::load_value(row + c * kLanes * E::kKeys);
      if (half) value[c] = E::keep_first(value[c]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto p = scalar<E>(w.scores + r * kSplitKeys, step);
      for (int c = 0; c < C; ++c) acc[r][c] = E::multiply_value(acc[r][c], value[c], p);
    }
  };
  const int end = (w.keys.hi + E::kKeys - 1) / E::kKeys;
  constexpr int kBlockSteps = kKvBlock / E::kKeys;
  constexpr int kSumSteps = E::kSumKeys > 0 ? E::kSumKeys / E::kKeys : kBlockSteps;
  for (int step = w.keys.lo / E::kKeys; step < end;) {
    const auto* v = reinterpret_cast<const typename E::T*>(w.blocks.values(step * E::kKeys)) + dim * E::kKeys;
    const int next = (step / kBlockSteps + 1) * kBlockSteps;
    const int stop = next < end ? next : end;
    // The last pair may have one key only; its other half was never written by this sequence.
    const bool cut = stop == end && w.keys.hi % E::kKeys != 0;
    const uint8_t* ahead = next < end ? w.blocks.values(next * E::kKeys) : nullptr;
    const int key = step * E::kKeys;
    const uint8_t* later = key < w.next_keys ? w.next.keys(key) : nullptr;
    const auto add_whole = [&] {
      const auto at = static_cast<int64_t>(step % kBlockSteps) * padded * E::kKeys;
      if constexpr (R <= simd::kStreamRows) {
        constexpr int kBytes = C * kLanes * E::kKeys * static_cast<int>(sizeof(typename E::T));
        const auto offset = (at + dim * E::kKeys) * static_cast<int64_t>(sizeof(typename E::T));
        for (int i = 0; ahead && i < kBytes; i += 64) __builtin_prefetch(ahead + offset + i);
        if (later) fetch_early(later + offset, kBytes);
      }
      add(v + at, step++, false);
    };
    const int whole = stop - (cut ? 1 : 0);
    int softened = 0;  // rows of the next block
    while (step < whole) {
      const int part = (step / kSumSteps + 1) * kSumSteps;
      const int last = part < whole ? part : whole;
      if (softmax && next < end) {
        const int rows = kSumSteps == kBlockSteps || last == next ? R : softened + R * kSumSteps / kBlockSteps;
        for (; softened < rows; ++softened) {
          softmax->soften(softened, next * E::kKeys);
          for (int i = 0; i < kBlockSteps / R && step < last; ++i) add_whole();
        }
      }
      while (step < last) add_whole();
      if (step == part) empty_sums();  // nowhere else, so that the same keys are summed whatever the tile sees
    }
    if (cut) add(v + static_cast<int64_t>(step++ % kBlockSteps) * padded * E::kKeys, stop - 1, true);
  }
  empty_sums();
  for (int r = 0; r < R; ++r) {
    float* out = acc_out + r * padded + dim;
    for (int c = 0; c < C; ++c, out += kLanes) {
      F found;
      if constexpr (E::kSumKeys > 0) {
        found = E::weighed(total[r][c], w.scales[r]);
      } else {
        found = E::weighed(acc[r][c], w.scales[r]);
      }
      simd::store(out, f ? merged(out, found, f->old[r], f->split[r]) : found);
    }
  }
}

// One split of keys: the rows' maxima, sums and weighed values become those of it and of the splits before.
template <class E, int R>
void attend_split(const AttentionArgs& a, int first, int split, Queries<E, R>& queries) {
  const int row = a.row_begin + first;
  const Range tile{row_range(a, split, row).lo, row_range(a, split, row + R - 1).hi};
  const Blocks blocks(a, split);
  float* scores = a.scores + first * kSplitKeys;
  F largest[R];
  score_keys<E, R>(a, blocks, queries, tile, scores, largest);
  Softmax<E, R> softmax(a, blocks, scores, tile, split, row, largest, queries.scales);
  Factors factors;
  const Factors* f = nullptr;
  if (split > a.split_begin) {
    factors = merge_maxima(R, a.max + first, softmax.max());
    f = &factors;
  } else {
    for (int r = 0; r < R; ++r) a.max[first + r] = softmax.max()[r];
  }
  if (tile.lo < tile.hi) {
    for (int r = 0; r < R; ++r) softmax.soften(r, tile.lo / kKvBlock * kKvBlock);
  }
  const int padded = a.kv.padded_dim;
  const bool is_last = split + 1 == a.split_end;
  const Blocks next = is_last ? Blocks(a.kv, a.next_base, a.next_blocks) : Blocks(a, split + 1);
  const int next_keys = is_last ? a.next_keys : row_range(a, split + 1, row + R - 1).hi;
  const Weighed weighed{blocks, tile, scores, padded, queries.scales, next, next_keys};
  float* acc = a.acc + static_cast<int64_t>(first) * padded;
  int dim = 0;
  const auto weigh = [&]<int C>() {
    for (; dim + C * kLanes <= padded; dim += C * kLanes) {
      weigh_values<E, R, C>(weighed, dim, acc, f, dim == 0 ? &softmax : nullptr);
    }
  };
  if constexpr (4 * R <= simd::kAccumulators) weigh.template operator()<4>();
  weigh.template operator()<2>();
  weigh.template operator()<1>();
  float sum[R];
  softmax.add_up(sum);
  if (f) {
    merge_sums(R, a.sum + first, sum, factors);
  } else {
    for (int r = 0; r < R; ++r) a.sum[first + r] = sum[r];
  }
}

template <class E, int R>
void attend_rows(const AttentionArgs& a, int first) {
  Queries<E, R> queries;
  // Scores as logarithms of base 2: what the softmax would multiply them with is in the queries.
  const float factor = a.scale * 1.44269504088896341f;
  for (int r = 0; r < R; ++r) {
    E::copy_query(query(a, a.row_begin + first + r), factor, a.kv.head_dim, queries.of[r], queries.scales[r]);
  }
  for (int split = a.split_begin; split < a.split_end; ++split) attend_split<E, R>(a, first, split, queries);
}

template <class E>
void attend(const AttentionArgs& a) {
  int done = 0;
  const auto take = [&]<int R>() {
    attend_rows<E, R>(a, done);
    done += R;
  };
  while (done < a.rows) {
    const int left = a.rows - done;
    if constexpr (simd::kAccumulators >= 16) {
      if (left >= 8) {
        take.template operator()<8>();
        continue;
      }
      if (left >= 6) {
        take.template operator()<6>();
        continue;
      }
      if (left >= 4) {
        take.template operator()<4>();
        continue;
      }
      if (left == 3) {
        take.template operator()<3>();
        continue;
      }
    }
    if (left >= 2) {
      take.template operator()<2>();
    } else {
      take.template operator()<1>();
    }
  }
}
}  // namespace

void attention(const AttentionArgs& a) {
  switch (a.kv.type) {
    case KvType::kF32: return attend<CachedFloats<simd::AsF32>>(a);
    case KvType::kF16: return attend<CachedFloats<simd::AsF16>>(a);
    case KvType::kBF16: return attend<CachedPairs>(a);
    case KvType::kInt8: return attend<CachedBytes>(a);
    case KvType::kInt16: return attend<CachedWords>(a);
  }
}

void merge_splits(int32_t rows, float* max, float* sum, float* acc, const float* split_max, const float* split_sum,
                  const float* split_acc, int32_t padded_dim) {
  const Factors f = merge_maxima(rows, max, split_max);
  merge_sums(rows, sum, split_sum, f);
  for (int r = 0; r < rows; ++r) {
    for (int d = 0; d < padded_dim; d += kLanes) {
      float* out = acc + r * padded_dim + d;
      simd::store(out, merged(out, simd::load(split_acc + r * padded_dim + d), f.old[r], f.split[r]));
    }
  }
}

void scale_row(const float* acc, float factor, int32_t n, float* out) {
  const F f = simd::set1(factor);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) simd::store(out + i, simd::mul(simd::load(acc + i), f));
  if (i < n) simd::store_first(out + i, simd::mul(simd::load_first(acc + i, n - i), f), n - i);
}
}  // namespace wayra
