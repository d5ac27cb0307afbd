// Attention of a few query rows of one KV head over splits of 256 keys, and the merging of splits.
//
// Keys are lanes of K and dimensions are lanes of V (layout: KvView in core/abi.h), so scores and outputs are chains of
// multiply-adds and nothing is added across lanes. Splits start at multiples of 256 and are merged in order, whoever
// computed them: prefill, decode and any chunking go through the same arithmetic. With a bfloat16 cache the queries and
// the probabilities are rounded to bfloat16 too, and a lane holds two consecutive elements of a dot product.
// Source: FlashAttention (Dao et al. 2022), FlashDecoding.
#include <type_traits>

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

// How elements of the cache are multiplied: a lane holds kPer consecutive ones, and so does the scalar beside it.
template <class E>
struct Floats {
  using T = typename E::T;
  using Scalar = float;
  static constexpr int kPer = 1;
  static F load(const T* p) { return E::get(p); }
  static F keep_first(F v) { return v; }
  static F multiply_add(F acc, F lane, float scalar) { return simd::fma(lane, simd::set1(scalar), acc); }
  static F exp2(F x) { return simd::exp2(x); }
  static void copy_query(const float* q, float factor, int dim, float* out) {
    const F f = simd::set1(factor);
    int d = 0;
    for (; d + kLanes <= dim; d += kLanes) simd::store(out + d, simd::mul(simd::load(q + d), f));
    if (d < dim) simd::store_first(out + d, simd::mul(simd::load_first(q + d, dim - d), f), dim - d);
  }
  static F put(float* at, float*, const F p[2], F sum) {
    simd::store(at, p[0]);
    simd::store(at + kLanes, p[1]);
    return simd::add(simd::add(sum, p[0]), p[1]);
  }
};

struct Pairs {
  using T = uint16_t;
  using Scalar = uint32_t;
  static constexpr int kPer = 2;
  static constexpr uint32_t kOnes = 0x3f803f80u;
  static simd::B load(const T* p) { return simd::load_bytes(reinterpret_cast<const uint8_t*>(p)); }
  static simd::B keep_first(const simd::B& v) { return simd::and_lanes(v, 0xffffu); }
  static F multiply_add(F acc, const simd::B& lane, uint32_t scalar) { return simd::dot_bf16(acc, lane, scalar); }
  static F exp2(F x) { return simd::exp2_rough(x); }  // the result is rounded to eight bits
  // Zero up to a whole vector.
  static void copy_query(const float* q, float factor, int dim, float* out) {
    const F f = simd::set1(factor);
    int d = 0;
    for (; d + kLanes <= dim; d += kLanes) simd::store_bf16(out + d / 2, simd::mul(simd::load(q + d), f));
    if (d < dim) simd::store_bf16(out + d / 2, simd::mul(simd::load_first(q + d, dim - d), f));
  }
  // In place: the half row at `row` that is written never reaches what is still to be read. The sum is of what was
  // rounded, so that the probabilities add up to one.
  static F put(float* at, float* row, const F p[2], F sum) {
    float* out = row + (at - row) / 2;
    const simd::B both = simd::to_bf16(p[0], p[1]);
    simd::store_bytes(out, both);
    return simd::dot_bf16(sum, both, kOnes);
  }
};

// Floats between the rows of a tile's queries: known when compiling, so that one pointer serves all rows, and no power
// of two, so that they do not fall into the same lines of the cache.
template <class E>
constexpr int kQueryStride = kMaxHeadDim / E::kPer + kLanes;

// Scalar `step` of what copy_query or put left at p.
template <class E>
typename E::Scalar scalar(const float* p, int step) {
  typename E::Scalar s;
  __builtin_memcpy(&s, p + step, sizeof s);
  return s;
}

// The blocks of KV behind a range of keys of the split.
class Blocks {
 public:
  Blocks(const AttentionArgs& a, int split)
      : Blocks(a.kv, a.kv.base, a.block_table + split * (kSplitKeys / kKvBlock)) {}
  Blocks(const KvView& kv, const uint8_t* base, const int32_t* table) : base_(base), table_(table), kv_(kv) {}
  const uint8_t* keys(int key) const { return base_ + table_[key / kKvBlock] * kv_.block_stride; }
  const uint8_t* values(int key) const { return keys(key) + kv_.v_offset; }

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
void score_keys(const AttentionArgs& a, const Blocks& blocks, const float* q, Range keys, float* scores, F* largest) {
  for (int r = 0; r < R; ++r) largest[r] = simd::set1(kUnseenMax);
  const int steps = (a.kv.head_dim + E::kPer - 1) / E::kPer;
  constexpr int kVector = kLanes * E::kPer;  // elements
  for (int key = keys.lo / kKvBlock * kKvBlock; key < keys.hi; key += kKvBlock) {
    const auto* k = reinterpret_cast<const typename E::T*>(blocks.keys(key));
    const uint8_t* ahead = key + kKvBlock < keys.hi ? blocks.keys(key + kKvBlock) : blocks.values(keys.lo);
    const uint8_t* values = blocks.values(key);
    F acc[R][2];
    for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = simd::zero();
    for (int d = 0; d < steps; ++d) {
      if constexpr (R <= simd::kStreamRows) {
        constexpr int kBytes = kVector * static_cast<int>(sizeof(typename E::T));
        for (int i = 0; i < 2 * kBytes; i += 64) __builtin_prefetch(ahead + d * 2 * kBytes + i);
        fetch_early(values + d * 2 * kBytes, 2 * kBytes);
      }
      const auto k0 = E::load(k + d * kVector);
      const auto k1 = E::load(k + (steps + d) * kVector);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const auto both = scalar<E>(q + r * kQueryStride<E>, d);
        acc[r][0] = E::multiply_add(acc[r][0], k0, both);
        acc[r][1] = E::multiply_add(acc[r][1], k1, both);
      }
    }
    for (int r = 0; r < R; ++r) {
      simd::store(scores + r * kSplitKeys + key, acc[r][0]);
      simd::store(scores + r * kSplitKeys + key + kLanes, acc[r][1]);
      largest[r] = simd::max(largest[r], simd::max(acc[r][0], acc[r][1]));
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
  Softmax(const AttentionArgs& a, float* scores, Range tile, int split, int row, const F* largest) : scores_(scores) {
    const Range whole{tile.lo / kKvBlock * kKvBlock, (tile.hi + kKvBlock - 1) / kKvBlock * kKvBlock};
    F lanes[R];
    for (int r = 0; r < R; ++r) {
      seen_[r] = row_range(a, split, row + r);
      const bool sees_all = seen_[r].lo <= whole.lo && seen_[r].hi >= whole.hi;
      lanes[r] = sees_all ? largest[r] : largest_seen(scores + r * kSplitKeys, tile, seen_[r]);
      sum_[r] = simd::zero();
    }
    for (int r = 0; r < R; ++r) max_[r] = sees_any(r) ? simd::reduce_max(lanes[r]) : kUnseenMax;
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
    sum_[r] = E::put(row + key, row, p, sum_[r]);
  }

  // Of all blocks softened.
  void add_up(float* sum) const {
    for (int r = 0; r < R; ++r) sum[r] = sees_any(r) ? simd::reduce_add(sum_[r]) : 0.0f;
  }

 private:
  bool sees_any(int r) const { return seen_[r].hi > seen_[r].lo; }

  float* scores_;
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
  Blocks next;  // of the keys that this thread reads after these values
  int next_keys;
};

// acc[r][dims] = sum over keys of p[r][key] * V[key][dims], C vectors of dims at a time; merged with what acc holds
// when there are factors. With a softmax, the probabilities come from it: a row of the next block now and then between
// the products of this one, whose units it hardly needs.
template <class E, int R, int C>
void weigh_values(const Weighed& w, int dim, float* acc_out, const Factors* f, Softmax<E, R>* softmax) {
  F acc[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) acc[r][c] = simd::zero();
  }
  const int padded = w.padded_dim;
  const auto add = [&](const auto* row, int step, bool half) {
    decltype(E::load(row)) value[C];
    for (int c = 0; c < C; ++c) {
      value[c] = E::load(row + c * kLanes * E::kPer);
      if (half) value[c] = E::keep_first(value[c]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto p = scalar<E>(w.scores + r * kSplitKeys, step);
      for (int c = 0; c < C; ++c) acc[r][c] = E::multiply_add(acc[r][c], value[c], p);
    }
  };
  const int end = (w.keys.hi + E::kPer - 1) / E::kPer;
  constexpr int kBlockSteps = kKvBlock / E::kPer;
  for (int step = w.keys.lo / E::kPer; step < end;) {
    const auto* v = reinterpret_cast<const typename E::T*>(w.blocks.values(step * E::kPer)) + dim * E::kPer;
    const int next = (step / kBlockSteps + 1) * kBlockSteps;
    const int stop = next < end ? next : end;
    // The last pair may have one key only; its other half was never written by this sequence.
    const bool cut = stop == end && w.keys.hi % E::kPer != 0;
    const uint8_t* ahead = next < end ? w.blocks.values(next * E::kPer) : nullptr;
    const int key = step * E::kPer;
    const uint8_t* later = key < w.next_keys ? w.next.keys(key) : nullptr;
    const auto add_whole = [&] {
      const auto at = static_cast<int64_t>(step % kBlockSteps) * padded * E::kPer;
      if constexpr (R <= simd::kStreamRows) {
        constexpr int kBytes = C * kLanes * E::kPer * static_cast<int>(sizeof(typename E::T));
        const auto offset = (at + dim * E::kPer) * static_cast<int64_t>(sizeof(typename E::T));
        for (int i = 0; ahead && i < kBytes; i += 64) __builtin_prefetch(ahead + offset + i);
        if (later) fetch_early(later + offset, kBytes);
      }
      add(v + at, step++, false);
    };
    const int whole = stop - (cut ? 1 : 0);
    if (softmax && next < end) {
      for (int r = 0; r < R; ++r) {
        softmax->soften(r, next * E::kPer);
        for (int i = 0; i < kBlockSteps / R && step < whole; ++i) add_whole();
      }
    }
    while (step < whole) add_whole();
    if (cut) add(v + static_cast<int64_t>(step++ % kBlockSteps) * padded * E::kPer, stop - 1, true);
  }
  for (int r = 0; r < R; ++r) {
    float* out = acc_out + r * padded + dim;
    for (int c = 0; c < C; ++c, out += kLanes) {
      simd::store(out, f ? merged(out, acc[r][c], f->old[r], f->split[r]) : acc[r][c]);
    }
  }
}

// One split of keys: the rows' maxima, sums and weighed values become those of it and of the splits before.
template <class E, int R>
void attend_split(const AttentionArgs& a, int first, int split, const float* q) {
  const int row = a.row_begin + first;
  const Range tile{row_range(a, split, row).lo, row_range(a, split, row + R - 1).hi};
  const Blocks blocks(a, split);
  float* scores = a.scores + first * kSplitKeys;
  F largest[R];
  score_keys<E, R>(a, blocks, q, tile, scores, largest);
  Softmax<E, R> softmax(a, scores, tile, split, row, largest);
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
  const Weighed weighed{blocks, tile, scores, padded, next, next_keys};
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
  alignas(64) float q[R * kQueryStride<E>];
  // Scores as logarithms of base 2: what the softmax would multiply them with is in the queries.
  const float factor = a.scale * 1.44269504088896341f;
  for (int r = 0; r < R; ++r) {
    E::copy_query(query(a, a.row_begin + first + r), factor, a.kv.head_dim, q + r * kQueryStride<E>);
  }
  for (int split = a.split_begin; split < a.split_end; ++split) attend_split<E, R>(a, first, split, q);
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
    case KvType::kF32: return attend<Floats<simd::AsF32>>(a);
    case KvType::kF16: return attend<Floats<simd::AsF16>>(a);
    case KvType::kBF16: return attend<Pairs>(a);
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
