// What each operation does on one thread: claim rows or panels, call the kernel, leave the barrier to the caller.
#include <algorithm>
#include <cmath>

#include "core/executor.h"
#include "core/formats.h"

namespace wayra {
namespace {
constexpr int kChunksPerThread = 4;  // enough to even out a slow thread, few enough to keep claims cheap
// Rows that a panel is multiplied with before the next one comes: few enough that the rows of the output they are
// spread over stay in the caches, enough that the weights' stream from memory is no limit.
constexpr int64_t kRowBlock = 64;

int64_t chunk_of(int64_t total, int threads) { return std::max<int64_t>(1, total / (threads * kChunksPerThread)); }
}  // namespace

// Angles are position * inv_freq in float32, as the reference computes them.
void Executor::run_positions(int thread) {
  Claims& claims = next_claims(thread);
  const AlignedFloats& inv_freq = vectors_[static_cast<size_t>(inv_freq_)];
  const size_t half = inv_freq.size();
  int64_t begin, end;
  while (claims.claim(in_.tokens, 8, &begin, &end)) {
    for (int64_t t = begin; t < end; ++t) {
      float* out = cos_sin_.data() + static_cast<size_t>(t) * 2 * half;
      for (size_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(static_cast<float>(in_.positions[t]) * inv_freq[i]);
        out[i] = static_cast<float>(std::cos(angle)) * magnitude_;
        out[half + i] = static_cast<float>(std::sin(angle)) * magnitude_;
      }
    }
  }
}

void Executor::emit_row(const Buffer& out, int64_t row, const float* values) {
  if (out.has_groups()) kernels_->quantise(out.view, row, values, 0, out.view.groups);
}

void Executor::emit_rows(const Buffer& out, Rows rows, const float* values, int64_t stride, Groups groups) {
  if (!out.has_groups()) return;
  for (int64_t row = rows.begin; row < rows.end;) {
    if (row % kTileRows == 0 && row + kTileRows <= rows.end) {
      kernels_->quantise_tile(out.view, row, values, stride, groups.begin, groups.end);
      row += kTileRows;
      values += kTileRows * stride;
    } else {
      kernels_->quantise(out.view, row++, values, groups.begin, groups.end);
      values += stride;
    }
  }
}

template <class RowOp>
void Executor::run(const RowOp& op, int thread) {
  Claims& claims = next_claims(thread);
  const int total = rows_of(buffers_[static_cast<size_t>(op.out)]);
  Rows rows;
  while (claims.claim(total, chunk_of(total, pool_.size()), &rows.begin, &rows.end)) run_rows(op, rows, thread);
}
template void Executor::run(const EmbedOp& op, int thread);
template void Executor::run(const NormOp& op, int thread);
template void Executor::run(const RopeStoreOp& op, int thread);
template void Executor::run(const SwigluOp& op, int thread);
template void Executor::run(const TakeRowsOp& op, int thread);

void Executor::run_rows(const EmbedOp& op, Rows rows, int) {
  const PackedMatrix& m = matrices_[static_cast<size_t>(op.matrix)];
  float* out = buffers_[static_cast<size_t>(op.out)].values;
  for (int64_t t = rows.begin; t < rows.end; ++t) kernels_->embed(m, in_.token_ids[t], out + t * m.cols);
}

void Executor::run_rows(const NormOp& op, Rows rows, int thread) {
  const Buffer& out = buffers_[static_cast<size_t>(op.out)];
  float* x = buffers_[static_cast<size_t>(op.x)].values;
  const float* delta = op.delta >= 0 ? buffers_[static_cast<size_t>(op.delta)].view.f32 : nullptr;
  const float* weight = vectors_[static_cast<size_t>(op.weight)].data();
  float* scratch = scratch_[static_cast<size_t>(thread)].row.data();
  for (Rows tile{rows.begin, 0}; tile.begin < rows.end; tile.begin = tile.end) {
    tile.end = std::min(rows.end, (tile.begin / kTileRows + 1) * kTileRows);
    float* values = out.f32 ? out.values + tile.begin * out.cols : scratch;
    for (int64_t t = tile.begin; t < tile.end; ++t) {
      kernels_->add_rms_norm(x + t * out.cols, delta ? delta + t * out.cols : nullptr, weight, op.eps, out.cols,
                             values + (t - tile.begin) * out.cols);
    }
    emit_rows(out, tile, values, out.cols, {0, out.view.groups});
  }
}

void Executor::quantise_rows(const Buffer& b, int rows, Claims& claims) {
  int64_t begin, end;
  while (claims.claim(rows, chunk_of(rows, pool_.size()), &begin, &end)) {
    for (int64_t r = begin; r < end; ++r) kernels_->quantise(b.view, r, b.view.f32 + r * b.cols, 0, b.view.groups);
  }
}

Executor::Product Executor::product_of(const LinearOp& op) const {
  const Buffer& out = buffers_[static_cast<size_t>(op.out)];
  const float* bias = op.bias >= 0 ? vectors_[static_cast<size_t>(op.bias)].data() : nullptr;
  return {op.parts, buffers_[static_cast<size_t>(op.in)].view, bias, out.values, out.cols};
}

// Panels are counted through all parts.
int64_t Executor::panels_of(const std::vector<int>& parts) const {
  int64_t panels = 0;
  for (int p : parts) panels += (matrices_[static_cast<size_t>(p)].rows + kLanes - 1) / kLanes;
  return panels;
}

void Executor::multiply(const Product& p, int64_t panel_begin, int64_t panel_end, Rows rows) const {
  int64_t from = panel_begin;
  int64_t panel_base = 0;
  int64_t out_base = 0;
  for (int part : p.parts) {
    const PackedMatrix& m = matrices_[static_cast<size_t>(part)];
    const int64_t part_panels = (m.rows + kLanes - 1) / kLanes;
    if (from < panel_base + part_panels && from < panel_end) {
      const int64_t stop = std::min(panel_end, panel_base + part_panels);
      kernels_->linear({&m, &p.x, p.bias ? p.bias + out_base : nullptr, p.out + out_base, p.out_stride,
                        static_cast<int32_t>(from - panel_base), static_cast<int32_t>(stop - panel_base),
                        static_cast<int32_t>(rows.begin), static_cast<int32_t>(rows.end), pair_panels_});
      from = stop;
    }
    panel_base += part_panels;
    out_base += m.rows;
  }
}

// Tasks are (block of rows, panels).
void Executor::multiply_shared(const Product& p, Rows rows, Claims& claims) {
  const int64_t panels = panels_of(p.parts);
  const int64_t blocks = (rows.end - rows.begin + kRowBlock - 1) / kRowBlock;
  int64_t begin, end;
  while (claims.claim_share(blocks * panels, panels, pool_.size(), &begin, &end)) {
    const int64_t first_row = rows.begin + begin / panels * kRowBlock;
    const int64_t first_panel = begin % panels;
    multiply(p, first_panel, first_panel + (end - begin), {first_row, std::min(first_row + kRowBlock, rows.end)});
  }
}

void Executor::run(const LinearOp& op, int thread) {
  Claims& quantise_claims = next_claims(thread);
  Claims& claims = next_claims(thread);
  if (op.quantise_input) {
    quantise_rows(buffers_[static_cast<size_t>(op.in)], rows_of(buffers_[static_cast<size_t>(op.in)]), quantise_claims);
    barrier(thread);
  }
  multiply_shared(product_of(op), {0, rows_of(buffers_[static_cast<size_t>(op.out)])}, claims);
}

void Executor::run_rows(const LinearOp& op, Rows rows, int) {
  const Buffer& in = buffers_[static_cast<size_t>(op.in)];
  if (op.quantise_input) {
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      kernels_->quantise(in.view, r, in.view.f32 + r * in.cols, 0, in.view.groups);
    }
  }
  multiply(product_of(op), 0, panels_of(op.parts), rows);
}

void Executor::run_rows(const RopeStoreOp& op, Rows rows, int) {
  const Buffer& qkv = buffers_[static_cast<size_t>(op.qkv)];
  const Buffer& out = buffers_[static_cast<size_t>(op.out)];
  const KvView kv = kv_view(op.layer, 0);
  int seq = 0;
  for (int64_t t = rows.begin; t < rows.end; ++t) {
    while (t >= in_.query_starts[seq + 1]) ++seq;
    const int position = in_.positions[t];
    const int64_t block = in_.block_tables[static_cast<int64_t>(seq) * in_.blocks_per_seq + position / kKvBlock];
    kernels_->rope_store({qkv.view.f32 + t * qkv.cols, cos_sin_.data() + t * rotary_dim_, out.values + t * out.cols, kv,
                          kv_.head_bytes(), block, position % kKvBlock, op.num_heads, op.num_kv_heads, op.rotary_dim});
  }
}

void Executor::run_rows(const SwigluOp& op, Rows rows, int thread) {
  const Buffer& in = buffers_[static_cast<size_t>(op.in)];
  const Buffer& out = buffers_[static_cast<size_t>(op.out)];
  float* scratch = scratch_[static_cast<size_t>(thread)].row.data();
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* gate = in.view.f32 + row * in.cols;
    float* values = out.f32 ? out.values + row * out.cols : scratch;
    kernels_->swiglu(gate, gate + out.cols, out.cols, values);
    emit_row(out, row, values);
  }
}

void Executor::run_rows(const TakeRowsOp& op, Rows rows, int) {
  const Buffer& in = buffers_[static_cast<size_t>(op.in)];
  const Buffer& out = buffers_[static_cast<size_t>(op.out)];
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* row = in.view.f32 + static_cast<int64_t>(in_.logit_rows[r]) * in.cols;
    if (out.f32) std::copy(row, row + in.cols, out.values + r * out.cols);
    emit_row(out, r, row);
  }
}

// A few rows of logits at a time: they are used up at once and never kept for a whole prompt.
void Executor::run_logits(int thread) {
  const Buffer& in = buffers_[static_cast<size_t>(logits_.in)];
  if (out_.hidden && thread == 0) std::copy_n(in.view.f32, static_cast<int64_t>(in_.rows) * in.cols, out_.hidden);
  if (!out_.needs_logits()) return;
  Claims& quantise_claims = next_claims(thread);
  const size_t entry = ops_.size() + 1;
  profile_.enter(thread, entry);
  if (logits_.quantise_input) {
    quantise_rows(in, in_.rows, quantise_claims);
    barrier(thread);
  }
  const std::vector<int> parts{logits_.matrix};
  for (int first = 0; first < in_.rows; first += kLogitRows) {
    const int n = std::min(kLogitRows, in_.rows - first);
    Claims& multiply_claims = next_claims(thread);
    Claims& sample_claims = next_claims(thread);
    float* out = logit_scratch_.data() - static_cast<int64_t>(first) * limits_.vocab;
    profile_.enter(thread, entry);
    multiply_shared({parts, in.view, nullptr, out, limits_.vocab}, {first, first + n}, multiply_claims);
    barrier(thread);
    profile_.enter(thread, entry + 1);
    int64_t begin, end;
    while (sample_claims.claim(n, 1, &begin, &end)) {
      sample_row(first + static_cast<int>(begin), logit_scratch_.data() + begin * limits_.vocab, thread);
    }
    barrier(thread);
  }
}

void Executor::sample_row(int row, float* logits, int thread) {
  const auto r = static_cast<size_t>(row);
  const SampleInput& o = out_;
  if (o.logits) std::copy(logits, logits + limits_.vocab, o.logits + static_cast<int64_t>(row) * limits_.vocab);
  if (!o.sample && !o.targets && o.num_logprobs == 0) return;
  SampleArgs a{};
  a.logits = logits;
  a.vocab = limits_.vocab;
  a.num_logprobs = o.num_logprobs;
  a.target = o.targets ? o.targets[r] : -1;
  a.sample = o.sample;
  a.scratch = scratch_[static_cast<size_t>(thread)].sample.data();
  if (o.num_logprobs) {
    a.top_ids = o.top_ids + r * static_cast<size_t>(o.num_logprobs);
    a.top_logprobs = o.top_logprobs + r * static_cast<size_t>(o.num_logprobs);
  }
  if (o.sample) {
    a.temperature = o.temperature[r];
    a.top_k = o.top_k[r];
    a.top_p = o.top_p[r];
    a.min_p = o.min_p[r];
    a.seed = o.seeds[r];
    a.draw = o.draws[r];
    a.repetition_penalty = o.repetition_penalty[r];
    a.presence_penalty = o.presence_penalty[r];
    a.frequency_penalty = o.frequency_penalty[r];
    a.history_ids = o.history_ids + o.history_starts[r];
    a.history_counts = o.history_counts + o.history_starts[r];
    a.history_len = o.history_starts[r + 1] - o.history_starts[r];
    a.bias_ids = o.bias_ids + o.bias_starts[r];
    a.bias_values = o.bias_values + o.bias_starts[r];
    a.bias_len = o.bias_starts[r + 1] - o.bias_starts[r];
    a.allowed = o.allowed ? o.allowed + r * static_cast<size_t>((limits_.vocab + 31) / 32) : nullptr;
  }
  kernels_->sample(a);
  if (o.sample) {
    o.token_ids[r] = a.token_id;
    o.logprobs[r] = a.logprob;
  }
  if (o.targets) o.target_logprobs[r] = a.target_logprob;
}

}  // namespace wayra
