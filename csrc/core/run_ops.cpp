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
constexpr int kSwigluCols = 512;

int64_t chunk_of(int64_t total, int threads) { return std::max<int64_t>(1, total / (threads * kChunksPerThread)); }
}  // namespace

// Angles are position * inv_freq in float32, as the reference computes them.
void Executor::run_positions(int thread) {
  Claims& claims = next_claims(thread);
  const std::vector<float>& inv_freq = vectors_[static_cast<size_t>(inv_freq_)];
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
  if (out.quantised) kernels_->quantise(out.view, row, values, 0, out.view.groups);
}

void Executor::run(const EmbedOp& op, int thread) {
  Claims& claims = next_claims(thread);
  const PackedMatrix& m = matrices_[static_cast<size_t>(op.matrix)];
  float* out = buffers_[static_cast<size_t>(op.out)].values;
  int64_t begin, end;
  while (claims.claim(in_.tokens, 4, &begin, &end)) {
    for (int64_t t = begin; t < end; ++t) kernels_->embed(m, in_.token_ids[t], out + t * m.cols);
  }
}

void Executor::run(const NormOp& op, int thread) {
  Claims& claims = next_claims(thread);
  const Buffer& out = buffers_[static_cast<size_t>(op.out)];
  float* x = buffers_[static_cast<size_t>(op.x)].values;
  const float* delta = op.delta >= 0 ? buffers_[static_cast<size_t>(op.delta)].view.f32 : nullptr;
  const float* weight = vectors_[static_cast<size_t>(op.weight)].data();
  float* scratch = scratch_[static_cast<size_t>(thread)].row.data();
  const int rows = rows_of(out);
  int64_t begin, end;
  while (claims.claim(rows, chunk_of(rows, pool_.size()), &begin, &end)) {
    for (int64_t t = begin; t < end; ++t) {
      float* h = out.f32 ? out.values + t * out.cols : scratch;
      kernels_->add_rms_norm(x + t * out.cols, delta ? delta + t * out.cols : nullptr, weight, op.eps, out.cols, h);
      emit_row(out, t, h);
    }
  }
}

void Executor::quantise_rows(const Buffer& b, int rows, Claims& claims) {
  int64_t begin, end;
  while (claims.claim(rows, chunk_of(rows, pool_.size()), &begin, &end)) {
    for (int64_t r = begin; r < end; ++r) kernels_->quantise(b.view, r, b.view.f32 + r * b.cols, 0, b.view.groups);
  }
}

// Tasks are (block of rows, panels); panels are counted through all parts.
void Executor::multiply(const std::vector<int>& parts, const ActRows& x, int row_begin, int rows, const float* bias,
                        float* out, int64_t out_stride, Claims& claims) {
  int64_t panels = 0;
  for (int p : parts) panels += (matrices_[static_cast<size_t>(p)].rows + kLanes - 1) / kLanes;
  const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  int64_t begin, end;
  while (claims.claim_share(blocks * panels, panels, pool_.size(), &begin, &end)) {
    const int64_t first_row = row_begin + begin / panels * kRowBlock;
    const int64_t last_row = std::min<int64_t>(first_row + kRowBlock, row_begin + rows);
    int64_t from = begin % panels;
    const int64_t to = from + (end - begin);
    int64_t panel_base = 0;
    int64_t out_base = 0;
    for (int p : parts) {
      const PackedMatrix& m = matrices_[static_cast<size_t>(p)];
      const int64_t part_panels = (m.rows + kLanes - 1) / kLanes;
      if (from < panel_base + part_panels && from < to) {
        const int64_t stop = std::min(to, panel_base + part_panels);
        kernels_->linear({&m, &x, bias ? bias + out_base : nullptr, out + out_base, out_stride,
                          static_cast<int32_t>(from - panel_base), static_cast<int32_t>(stop - panel_base),
                          static_cast<int32_t>(first_row), static_cast<int32_t>(last_row)});
        from = stop;
      }
      panel_base += part_panels;
      out_base += m.rows;
    }
  }
}

void Executor::run(const LinearOp& op, int thread) {
  const Buffer& in = buffers_[static_cast<size_t>(op.in)];
  const Buffer& out = buffers_[static_cast<size_t>(op.out)];
  Claims& quantise_claims = next_claims(thread);
  Claims& claims = next_claims(thread);
  if (op.quantise_input) {
    quantise_rows(in, rows_of(in), quantise_claims);
    barrier(thread);
  }
  const float* bias = op.bias >= 0 ? vectors_[static_cast<size_t>(op.bias)].data() : nullptr;
  multiply(op.parts, in.view, 0, rows_of(in), bias, out.values, out.cols, claims);
}

void Executor::run(const RopeStoreOp& op, int thread) {
  Claims& claims = next_claims(thread);
  const Buffer& qkv = buffers_[static_cast<size_t>(op.qkv)];
  const Buffer& out = buffers_[static_cast<size_t>(op.out)];
  const KvView kv = kv_view(op.layer, 0);
  int seq = 0;
  int64_t begin, end;
  while (claims.claim(in_.tokens, chunk_of(in_.tokens, pool_.size()), &begin, &end)) {
    for (int64_t t = begin; t < end; ++t) {
      while (t >= in_.query_starts[seq + 1]) ++seq;
      const int position = in_.positions[t];
      const int64_t block = in_.block_tables[static_cast<int64_t>(seq) * in_.blocks_per_seq + position / kKvBlock];
      kernels_->rope_store({qkv.view.f32 + t * qkv.cols, cos_sin_.data() + t * rotary_dim_, out.values + t * out.cols,
                            kv, kv_.head_bytes(), block, position % kKvBlock, op.num_heads, op.num_kv_heads,
                            op.rotary_dim});
    }
  }
}

void Executor::run(const SwigluOp& op, int thread) {
  Claims& claims = next_claims(thread);
  const Buffer& in = buffers_[static_cast<size_t>(op.in)];
  const Buffer& out = buffers_[static_cast<size_t>(op.out)];
  float* scratch = scratch_[static_cast<size_t>(thread)].row.data();
  const int64_t pieces = (out.cols + kSwigluCols - 1) / kSwigluCols;
  const int64_t total = rows_of(in) * pieces;
  int64_t begin, end;
  while (claims.claim(total, chunk_of(total, pool_.size()), &begin, &end)) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / pieces;
      const int from = static_cast<int>(i % pieces) * kSwigluCols;
      const int n = std::min(kSwigluCols, out.cols - from);
      const float* gate = in.view.f32 + row * in.cols + from;
      // Values go to a row-shaped scratch, so that the quantiser finds column `from` where it expects it.
      float* values = out.f32 ? out.values + row * out.cols : scratch;
      kernels_->swiglu(gate, gate + out.cols, n, values + from);
      if (out.quantised) kernels_->quantise(out.view, row, values, from / kGroup, (from + n) / kGroup);
    }
  }
}

void Executor::run(const TakeRowsOp& op, int thread) {
  Claims& claims = next_claims(thread);
  const Buffer& in = buffers_[static_cast<size_t>(op.in)];
  const Buffer& out = buffers_[static_cast<size_t>(op.out)];
  int64_t begin, end;
  while (claims.claim(in_.rows, chunk_of(in_.rows, pool_.size()), &begin, &end)) {
    for (int64_t r = begin; r < end; ++r) {
      const float* row = in.view.f32 + static_cast<int64_t>(in_.logit_rows[r]) * in.cols;
      if (out_.hidden) std::copy(row, row + in.cols, out_.hidden + r * in.cols);
      if (!out_.needs_logits()) continue;
      if (out.f32) std::copy(row, row + in.cols, out.values + r * out.cols);
      emit_row(out, r, row);
    }
  }
}

// A few rows of logits at a time: they are used up at once and never kept for a whole prompt.
void Executor::run_logits(int thread) {
  const Buffer& in = buffers_[static_cast<size_t>(logits_.in)];
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
    multiply(parts, in.view, first, n, nullptr, out, limits_.vocab, multiply_claims);
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
