// Attention of a step: which query rows and splits there are, who computes them, and how splits are merged.
#include <algorithm>
#include <numeric>

#include "core/executor.h"

namespace wayra {
namespace {
constexpr int kSplitRows = 32;  // query rows of a sequence and KV head up to which its context is shared out

int splits_of(int kv_len) { return (kv_len + kSplitKeys - 1) / kSplitKeys; }

// First split that holds a key of the row's window.
int first_split(int position, int window) {
  return window > 0 && position + 1 > window ? (position + 1 - window) / kSplitKeys : 0;
}
}  // namespace

// A decoding sequence with a long context is cut into splits that threads share; a prefill has rows enough.
void Executor::plan_attention() {
  items_.clear();
  merges_.clear();
  rows_before_.assign(static_cast<size_t>(in_.tokens) + 1, 0);
  for (int r = 0; r < in_.rows; ++r) rows_before_[static_cast<size_t>(in_.logit_rows[r]) + 1] = 1;
  std::partial_sum(rows_before_.begin(), rows_before_.end(), rows_before_.begin());
  int ratio = 1;
  for (const Op& op : ops_) {
    if (const auto* a = std::get_if<AttentionOp>(&op)) ratio = a->num_heads / a->num_kv_heads;
  }
  int slots = 0;
  for (int s = 0; s < in_.seqs; ++s) {
    const int rows = (in_.query_starts[s + 1] - in_.query_starts[s]) * ratio;
    const int splits = splits_of(in_.kv_lens[s]);
    for (int h = 0; h < kv_.num_kv_heads; ++h) {
      for (int r = 0; r < rows; r += kMaxAttentionRows) {
        const int n = std::min(kMaxAttentionRows, rows - r);
        const auto first = static_cast<size_t>(in_.query_starts[s] + r / ratio);
        const auto last = static_cast<size_t>(in_.query_starts[s] + (r + n - 1) / ratio);
        const bool has_row = rows_before_[last + 1] > rows_before_[first];
        if (rows <= kSplitRows && splits > 1) {
          merges_.push_back({s, h, r, n, slots, splits, has_row});
          for (int i = 0; i < splits; ++i) items_.push_back({s, h, r, n, i, slots++, has_row});
        } else {
          items_.push_back({s, h, r, n, -1, -1, has_row});
        }
      }
    }
  }
  const size_t floats =
      static_cast<size_t>(slots) * static_cast<size_t>(kMaxAttentionRows) * static_cast<size_t>(2 + kv_.padded_dim());
  if (partials_.size() < floats) partials_.resize(floats);
}

// A partial result holds [rows] maxima, [rows] sums, then [rows][padded_dim] sums of values. next: what this thread
// does after it, or null.
void Executor::attend(const AttentionOp& op, const AttentionItem& item, const AttentionItem* next, Scratch& s) {
  const int ratio = op.num_heads / op.num_kv_heads;
  const Buffer& q = buffers_[static_cast<size_t>(op.q)];
  const int first_token = in_.query_starts[item.seq];
  const int padded = kv_.padded_dim();
  AttentionArgs a{};
  a.kv = kv_view(op.layer, item.kv_head);
  a.block_table = blocks_of(item.seq);
  if (next && next->split >= 0) {
    a.next_base = kv_view(op.layer, next->kv_head).base;
    a.next_blocks = blocks_of(next->seq) + next->split * (kSplitKeys / kKvBlock);
    a.next_keys = std::min(kSplitKeys, in_.kv_lens[next->seq] - next->split * kSplitKeys);
  }
  a.q = q.view.f32 + static_cast<int64_t>(first_token) * q.cols + item.kv_head * ratio * op.head_dim;
  a.q_token_stride = q.cols;
  a.ratio = ratio;
  a.row_begin = item.row_begin;
  a.rows = item.rows;
  a.first_position = in_.positions[first_token];
  a.window = op.window;
  a.scale = op.scale;
  a.scores = s.scores.data();
  const auto place = [&](float* base) {
    a.max = base;
    a.sum = base + kMaxAttentionRows;
    a.acc = base + 2 * kMaxAttentionRows;
  };
  const int first_row_position = a.first_position + item.row_begin / ratio;
  const int last_row_position = a.first_position + (item.row_begin + item.rows - 1) / ratio;
  const int first = first_split(first_row_position, op.window);
  if (item.split >= 0) {
    float* partial = partials_.data() + static_cast<int64_t>(item.slot) * kMaxAttentionRows * (2 + padded);
    if (item.split < first) {
      std::fill(partial, partial + kMaxAttentionRows, kUnseenMax);
      std::fill(partial + kMaxAttentionRows, partial + kMaxAttentionRows * (2 + padded), 0.0f);
      return;
    }
    place(partial);
    a.split_begin = item.split;
    a.split_end = item.split + 1;
    kernels_->attention(a);
    return;
  }
  float* running = s.running.data();
  place(running);
  a.split_begin = first;
  a.split_end = last_row_position / kSplitKeys + 1;
  kernels_->attention(a);
  write_heads(op, item.seq, item.kv_head, item.row_begin, item.rows, running);
}

void Executor::merge(const AttentionOp& op, const MergeItem& item, Scratch& s) {
  const int padded = kv_.padded_dim();
  float* running = s.running.data();
  const int64_t stride = kMaxAttentionRows * (2 + padded);
  const float* p = partials_.data() + item.first_slot * stride;
  std::copy(p, p + stride, running);
  for (int i = 1; i < item.splits; ++i) {
    p += stride;
    kernels_->merge(item.rows, running, running + kMaxAttentionRows, running + 2 * kMaxAttentionRows, p,
                    p + kMaxAttentionRows, p + 2 * kMaxAttentionRows, padded);
  }
  write_heads(op, item.seq, item.kv_head, item.row_begin, item.rows, running);
}

void Executor::write_heads(const AttentionOp& op, int seq, int kv_head, int row_begin, int rows, const float* running) {
  const Buffer& out = buffers_[static_cast<size_t>(op.out)];
  const int ratio = op.num_heads / op.num_kv_heads;
  const int padded = kv_.padded_dim();
  for (int r = 0; r < rows; ++r) {
    const int row = row_begin + r;
    const int64_t token = in_.query_starts[seq] + row / ratio;
    const int at = (kv_head * ratio + row % ratio) * op.head_dim;
    float* values = out.values + token * out.cols;
    kernels_->scale_row(running + 2 * kMaxAttentionRows + r * padded, 1.0f / running[kMaxAttentionRows + r],
                        op.head_dim, values + at);
    if (out.has_groups() && op.head_dim % kGroup == 0) {
      kernels_->quantise(out.view, token, values, at / kGroup, (at + op.head_dim) / kGroup);
    }
  }
}

void Executor::run(const AttentionOp& op, int thread) {
  Claims& claims = next_claims(thread);
  Claims& merge_claims = next_claims(thread);
  Scratch& s = scratch_[static_cast<size_t>(thread)];
  const auto items = static_cast<int64_t>(items_.size());
  // Claimed one ahead: while an item is computed, the keys of the thread's next one are on their way.
  const auto claim = [&]() -> const AttentionItem* {
    int64_t at, after;
    while (claims.claim(items, 1, &at, &after)) {
      const AttentionItem& item = items_[static_cast<size_t>(at)];
      if (item.has_row || !op.only_rows) return &item;
    }
    return nullptr;
  };
  const AttentionItem* item = claim();
  while (item) {
    const AttentionItem* next = claim();
    attend(op, *item, next, s);
    item = next;
  }
  if (merges_.empty()) return;
  barrier(thread);
  int64_t begin, end;
  while (merge_claims.claim(static_cast<int64_t>(merges_.size()), 1, &begin, &end)) {
    const MergeItem& item = merges_[static_cast<size_t>(begin)];
    if (item.has_row || !op.only_rows) merge(op, item, s);
  }
}

}  // namespace wayra
