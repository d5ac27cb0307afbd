// Attention of a few query rows of one KV head over one split of 256 keys, and the merging of splits.
//
// Keys are lanes: K is stored [head_dim][16 keys], so a score is a chain of multiply-adds over head_dim and nothing is
// added across lanes. Splits start at multiples of 256 and are merged in order, whoever computed them: prefill, decode
// and any chunking go through the same arithmetic. Source: FlashAttention (Dao et al. 2022), FlashDecoding.
#include <cmath>

#include "ops/kernels.h"
#include "ops/simd.h"

namespace wayra {
namespace {
using simd::F;

struct Range {
  int lo, hi;  // keys of the split that a row sees
};

Range row_range(const AttentionArgs& a, int row) {
  const int position = a.first_position + row / a.ratio;
  const int first_key = a.split * kSplitKeys;
  const int hi = position + 1 - first_key;
  const int lo = a.window > 0 ? position + 1 - a.window - first_key : 0;
  return {lo < 0 ? 0 : lo, hi > kSplitKeys ? kSplitKeys : hi};
}

const float* query(const AttentionArgs& a, int row) {
  return a.q + row / a.ratio * a.q_token_stride + static_cast<int64_t>(row % a.ratio) * a.kv.head_dim;
}

const uint8_t* block_of(const AttentionArgs& a, int key_in_split) {
  const int block = a.block_table[(a.split * kSplitKeys + key_in_split) / kKvBlock];
  return a.kv.base + block * a.kv.block_stride;
}

// scores[r][key] for the blocks that hold keys [lo, hi).
template <class E, int R>
void score_keys(const AttentionArgs& a, int row, Range keys, float* scores) {
  const float* q[R];
  for (int r = 0; r < R; ++r) q[r] = query(a, row + r);
  const int dim = a.kv.head_dim;
  for (int key = keys.lo / kKvBlock * kKvBlock; key < keys.hi; key += kKvBlock) {
    const auto* k = reinterpret_cast<const typename E::T*>(block_of(a, key));
    F acc[R][2];
    for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = simd::zero();
    for (int d = 0; d < dim; ++d) {
      const F k0 = E::get(k + d * kLanes);
      const F k1 = E::get(k + (dim + d) * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const F v = simd::set1(q[r][d]);
        acc[r][0] = simd::fma(k0, v, acc[r][0]);
        acc[r][1] = simd::fma(k1, v, acc[r][1]);
      }
    }
    for (int r = 0; r < R; ++r) {
      simd::store(scores + r * kSplitKeys + key, acc[r][0]);
      simd::store(scores + r * kSplitKeys + key + kLanes, acc[r][1]);
    }
  }
}

// Turns a row's scores into e^(scale * score - max), zero for the keys it does not see.
void soften(float* scores, Range tile, Range row, float scale, float* max_out, float* sum_out) {
  const float minus_inf = -std::numeric_limits<float>::infinity();
  const int from = tile.lo / kLanes * kLanes;
  const F factor = simd::set1(scale);
  F largest = simd::set1(minus_inf);
  for (int i = from; i < tile.hi; i += kLanes) {
    const F s = simd::select_range(simd::mul(simd::load(scores + i), factor), row.lo - i, row.hi - i, minus_inf);
    largest = simd::max(largest, s);
  }
  const float max = row.hi > row.lo ? simd::reduce_max(largest) : 0.0f;
  const F m = simd::set1(max);
  F sum = simd::zero();
  for (int i = from; i < tile.hi; i += kLanes) {
    const F e = simd::exp(simd::sub(simd::mul(simd::load(scores + i), factor), m));
    const F p = simd::select_range(e, row.lo - i, row.hi - i, 0.0f);
    simd::store(scores + i, p);
    sum = simd::add(sum, p);
  }
  *max_out = row.hi > row.lo ? max : minus_inf;
  *sum_out = simd::reduce_add(sum);
}

// acc[r][dims] = sum over keys of p[r][key] * V[key][dims], C vectors of dims at a time.
template <class E, int R, int C>
void weigh_values(const AttentionArgs& a, int dim, Range keys, const float* scores, float* acc_out) {
  F acc[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) acc[r][c] = simd::zero();
  }
  const int stride = a.kv.padded_dim;
  for (int key = keys.lo; key < keys.hi;) {
    const auto* v = reinterpret_cast<const typename E::T*>(block_of(a, key) + a.kv.v_offset) + dim;
    const int block_end = (key / kKvBlock + 1) * kKvBlock;
    const int end = block_end < keys.hi ? block_end : keys.hi;
    for (; key < end; ++key) {
      const auto* row = v + key % kKvBlock * stride;
      F value[C];
      for (int c = 0; c < C; ++c) value[c] = E::get(row + c * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const F p = simd::set1(scores[r * kSplitKeys + key]);
        for (int c = 0; c < C; ++c) acc[r][c] = simd::fma(value[c], p, acc[r][c]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) simd::store(acc_out + r * stride + dim + c * kLanes, acc[r][c]);
  }
}

template <class E, int R>
void attend_rows(const AttentionArgs& a, int first) {
  const int row = a.row_begin + first;
  const Range tile{row_range(a, row).lo, row_range(a, row + R - 1).hi};
  float* scores = a.scores + first * kSplitKeys;
  score_keys<E, R>(a, row, tile, scores);
  for (int r = 0; r < R; ++r) {
    soften(scores + r * kSplitKeys, tile, row_range(a, row + r), a.scale, a.max + first + r, a.sum + first + r);
  }
  float* acc = a.acc + static_cast<int64_t>(first) * a.kv.padded_dim;
  int dim = 0;
  for (; dim + 2 * kLanes <= a.kv.padded_dim; dim += 2 * kLanes) weigh_values<E, R, 2>(a, dim, tile, scores, acc);
  if (dim < a.kv.padded_dim) weigh_values<E, R, 1>(a, dim, tile, scores, acc);
}

template <class E>
void attend(const AttentionArgs& a) {
  int done = 0;
  while (done < a.rows) {
    const int left = a.rows - done;
    if (simd::kMaxRows >= 8 && left >= 8) {
      attend_rows<E, 8>(a, done);
      done += 8;
    } else if (simd::kMaxRows >= 8 && left >= 6) {
      attend_rows<E, 6>(a, done);
      done += 6;
    } else if (left >= 4) {
      attend_rows<E, 4>(a, done);
      done += 4;
    } else if (left == 3) {
      attend_rows<E, 3>(a, done);
      done += 3;
    } else if (left == 2) {
      attend_rows<E, 2>(a, done);
      done += 2;
    } else {
      attend_rows<E, 1>(a, done);
      done += 1;
    }
  }
}
}  // namespace

void attention(const AttentionArgs& a) {
  switch (a.kv.type) {
    case KvType::kF32: return attend<simd::AsF32>(a);
    case KvType::kF16: return attend<simd::AsF16>(a);
    case KvType::kBF16: return attend<simd::AsBF16>(a);
  }
}

void merge_split(float* max, float* sum, float* acc, float split_max, float split_sum, const float* split_acc,
                 int32_t padded_dim) {
  if (!(split_sum > 0.0f)) return;
  if (!(*sum > 0.0f)) {
    *max = split_max;
    *sum = split_sum;
    __builtin_memcpy(acc, split_acc, static_cast<size_t>(padded_dim) * sizeof(float));
    return;
  }
  const float top = *max > split_max ? *max : split_max;
  alignas(64) float factors[kLanes] = {*max - top, split_max - top};
  simd::store(factors, simd::exp(simd::load(factors)));
  const F a = simd::set1(factors[0]), b = simd::set1(factors[1]);
  for (int d = 0; d < padded_dim; d += kLanes) {
    simd::store(acc + d, simd::fma(simd::load(split_acc + d), b, simd::mul(simd::load(acc + d), a)));
  }
  *sum = *sum * factors[0] + split_sum * factors[1];
  *max = top;
}

void scale_row(const float* acc, float factor, int32_t n, float* out) {
  const F f = simd::set1(factor);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) simd::store(out + i, simd::mul(simd::load(acc + i), f));
  if (i < n) simd::store_first(out + i, simd::mul(simd::load_first(acc + i, n - i), f), n - i);
}
}  // namespace wayra
