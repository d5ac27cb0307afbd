// Building, checking and driving; what each operation does on a thread is in run_ops.cpp and run_attention.cpp.
#include "core/executor.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>

#include "core/cpus.h"
#include "core/formats.h"

namespace wayra {
namespace {

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

int64_t align64(int64_t n) { return (n + 63) / 64 * 64; }

// Hands out stretches of memory one after the other, each aligned; from null it only counts.
class Placing {
 public:
  explicit Placing(uint8_t* base) : base_(base) {}

  template <class T>
  T* take(int64_t count) {
    T* at = base_ ? reinterpret_cast<T*>(base_ + size_) : nullptr;
    size_ += align64(count * static_cast<int64_t>(sizeof(T)));
    return at;
  }
  int64_t size() const { return size_; }

 private:
  uint8_t* base_;
  int64_t size_ = 0;
};

// Places every form of a buffer of so many rows, whole tiles of them; returns the bytes they take.
int64_t place(Buffer& b, uint8_t* base, int64_t rows) {
  Placing memory(base);
  b.view.cols = b.cols;
  b.view.groups = (b.cols + kGroup - 1) / kGroup;
  const int64_t entries = rows * b.view.groups;
  if (b.f32) b.view.f32 = b.values = memory.take<float>(rows * b.cols);
  if (b.int8) {
    b.view.q = memory.take<int8_t>(entries * kGroup);
    if (b.fine) b.view.low = memory.take<int8_t>(entries * kGroup);
    b.view.scale = memory.take<float>(entries);
    b.view.sum = memory.take<float>(entries);
    b.view.neg_sum = memory.take<int32_t>(entries);
    b.view.neg_sum16 = memory.take<int32_t>(2 * entries);
  }
  if (b.words) {
    b.view.words = memory.take<int16_t>(entries * kGroup);
    b.view.word_scale = memory.take<float>(entries);
  }
  if (b.bf16) b.view.bf16 = memory.take<uint16_t>(entries * kGroup);
  return memory.size();
}

bool serves(const BufferKind& b, Input input) {
  switch (input) {
    case Input::kF32: return b.f32;
    case Input::kInt8: return b.int8;
    case Input::kWords: return b.words;
    case Input::kBF16: return b.bf16 || b.f32;
  }
  return false;
}
}  // namespace

Executor::Executor(const KernelTable* kernels, int threads, Limits limits, KvShape kv)
    : kernels_(kernels), pair_panels_(multiplies_twice_a_cycle()), limits_(limits), kv_(kv), pool_(threads) {
  if (limits.max_tokens < 1 || limits.max_seqs < 1 || limits.vocab < 1) refuse("limits must be positive");
  if (kv.num_layers < 1 || kv.num_kv_heads < 1) refuse("a KV cache needs layers and heads");
  if (kv.head_dim < 1 || kv.head_dim > kMaxHeadDim) {
    refuse("heads of " + std::to_string(kv.head_dim) + " dimensions; expected 1 to " + std::to_string(kMaxHeadDim));
  }
}

int Executor::add_matrix(const PackedMatrix& m) {
  const FormatInfo* info = format_info(m.format);
  if (!info || m.rows < 1 || m.cols < 1 || m.cols % info->block_len) refuse("bad matrix");
  matrices_.push_back(m);
  matrices_.back().panel_bytes = panel_bytes(*info, m.cols);
  matrices_.back().scale_offset = panel_code_bytes(*info, m.cols);
  return static_cast<int>(matrices_.size()) - 1;
}

int Executor::add_vector(const std::vector<float>& v) {
  vectors_.emplace_back(v.begin(), v.end());
  return static_cast<int>(vectors_.size()) - 1;
}

int Executor::add_buffer(BufferKind kind, int shares) {
  const int index = static_cast<int>(buffers_.size());
  if (kind.cols < 1 || (kind.int8 && kind.cols % kGroup) || shares >= index) refuse("bad buffer");
  buffers_.push_back(Buffer{kind, nullptr, {}});
  shares_.push_back(shares < 0 ? index : shares);
  return index;
}

void Executor::set_rope(int inv_freq_vector, float magnitude) {
  inv_freq_ = inv_freq_vector;
  magnitude_ = magnitude;
  rotary_dim_ = 2 * static_cast<int>(vectors_.at(static_cast<size_t>(inv_freq_vector)).size());
}

void Executor::check_buffer(int index, int cols, const char* what) const {
  if (index < 0 || index >= static_cast<int>(buffers_.size())) refuse(std::string(what) + ": no such buffer");
  const int seen = buffers_[static_cast<size_t>(index)].cols;
  if (cols > 0 && seen != cols) {
    refuse(std::string(what) + ": buffer has " + std::to_string(seen) + " columns, expected " + std::to_string(cols));
  }
}

void Executor::check_linear(int in, const std::vector<int>& parts, bool quantise_input, const char* what) const {
  for (int p : parts) {
    const PackedMatrix& m = matrices_.at(static_cast<size_t>(p));
    check_buffer(in, m.cols, what);
    const Buffer& b = buffers_[static_cast<size_t>(in)];
    if (!serves(b, format_info(m.format)->input))
      refuse(std::string(what) + ": the input lacks the form the weights need");
    if (quantise_input && !(b.f32 && b.has_groups())) refuse(std::string(what) + ": cannot quantise the input");
  }
}

// Places the buffers one after the other; a buffer that shares another's memory takes the larger of both.
void Executor::lay_out() {
  const int64_t most = std::max(limits_.max_tokens, limits_.max_seqs);
  const int64_t rows = (most + kTileRows - 1) / kTileRows * kTileRows;
  std::vector<int64_t> need(buffers_.size(), 0);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    auto& n = need[static_cast<size_t>(shares_[i])];
    n = std::max(n, place(buffers_[i], nullptr, rows));
  }
  std::vector<int64_t> offset(buffers_.size(), 0);
  int64_t total = 0;
  for (size_t i = 0; i < buffers_.size(); ++i) {
    offset[i] = total;
    total += need[i];
  }
  arena_ = Memory(static_cast<size_t>(total), false);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    place(buffers_[i], arena_.data() + offset[static_cast<size_t>(shares_[i])], rows);
  }
}

void Executor::finish() {
  size_t counters = 1;
  int widest = 16;
  int num_heads = 0;
  for (const Op& op : ops_) {
    counters += 2;
    if (const auto* o = std::get_if<EmbedOp>(&op)) {
      const PackedMatrix& m = matrices_.at(static_cast<size_t>(o->matrix));
      if (m.rows < limits_.vocab) refuse("embed: fewer rows than the vocabulary");
      check_buffer(o->out, m.cols, "embed");
    } else if (const auto* n = std::get_if<NormOp>(&op)) {
      const int cols = static_cast<int>(vectors_.at(static_cast<size_t>(n->weight)).size());
      check_buffer(n->x, cols, "add_rms_norm");
      if (n->delta >= 0) check_buffer(n->delta, cols, "add_rms_norm");
      check_buffer(n->out, cols, "add_rms_norm");
    } else if (const auto* l = std::get_if<LinearOp>(&op)) {
      int rows = 0;
      check_linear(l->in, l->parts, l->quantise_input, "linear");
      for (int p : l->parts) rows += matrices_[static_cast<size_t>(p)].rows;
      check_buffer(l->out, rows, "linear");
      if (l->bias >= 0 && static_cast<int>(vectors_.at(static_cast<size_t>(l->bias)).size()) != rows) {
        refuse("linear: the bias has another length than the weights");
      }
    } else if (const auto* r = std::get_if<RopeStoreOp>(&op)) {
      check_buffer(r->qkv, (r->num_heads + 2 * r->num_kv_heads) * r->head_dim, "rope_store");
      check_buffer(r->out, r->num_heads * r->head_dim, "rope_store");
      if (r->layer < 0 || r->layer >= kv_.num_layers || r->num_kv_heads != kv_.num_kv_heads ||
          r->head_dim != kv_.head_dim || r->rotary_dim != rotary_dim_ || r->rotary_dim > r->head_dim) {
        refuse("rope_store: disagrees with the KV cache or the rotary frequencies");
      }
    } else if (const auto* a = std::get_if<AttentionOp>(&op)) {
      check_buffer(a->q, a->num_heads * a->head_dim, "attention");
      check_buffer(a->out, a->num_heads * a->head_dim, "attention");
      if (a->layer < 0 || a->layer >= kv_.num_layers || a->num_kv_heads != kv_.num_kv_heads ||
          a->head_dim != kv_.head_dim || a->num_heads % a->num_kv_heads || a->window < 0) {
        refuse("attention: disagrees with the KV cache");
      }
      // The step's items are planned once, for all layers.
      if (num_heads && a->num_heads != num_heads) refuse("attention: layers differ in their number of heads");
      num_heads = a->num_heads;
    } else if (const auto* s = std::get_if<SwigluOp>(&op)) {
      check_buffer(s->in, 0, "swiglu");
      const int in_cols = buffers_[static_cast<size_t>(s->in)].cols;
      if (in_cols % 2) refuse("swiglu: odd number of columns");
      check_buffer(s->out, in_cols / 2, "swiglu");
    } else if (const auto* t = std::get_if<TakeRowsOp>(&op)) {
      check_buffer(t->in, 0, "take_rows");
      check_buffer(t->out, buffers_[static_cast<size_t>(t->in)].cols, "take_rows");
    }
  }
  check_linear(logits_.in, {logits_.matrix}, logits_.quantise_input, "logits");
  if (!buffers_[static_cast<size_t>(logits_.in)].f32)
    refuse("logits: the input lacks the floats that callers may ask for");
  if (matrices_[static_cast<size_t>(logits_.matrix)].rows != limits_.vocab) refuse("logits: not one row a token id");
  if (inv_freq_ < 0) refuse("no rotary frequencies were set");
  for (const Buffer& b : buffers_) widest = std::max(widest, b.cols);
  lay_out();
  find_stretches();
  const auto threads = static_cast<size_t>(pool_.size());
  counters += 1 + 2 * (static_cast<size_t>(limits_.max_tokens) / kLogitRows + 1);
  claims_ = std::vector<Claims>(counters);
  cursor_.assign(threads * 8, 0);
  scratch_.resize(threads);
  const size_t partial = static_cast<size_t>(kMaxAttentionRows) * static_cast<size_t>(2 + kv_.padded_dim());
  for (Scratch& s : scratch_) {
    s.row.resize(static_cast<size_t>(kTileRows) * static_cast<size_t>(widest));
    s.scores.resize(static_cast<size_t>(kMaxAttentionRows) * kSplitKeys);
    s.running.resize(partial);
  }
}

void Executor::allocate_kv(int64_t num_blocks) {
  if (num_blocks < 0) refuse("a negative number of KV blocks");
  if (num_blocks > std::numeric_limits<int64_t>::max() / kv_bytes_per_block()) throw std::bad_alloc();
  kv_memory_ = Memory();
  kv_blocks_ = 0;
  kv_memory_ = Memory(static_cast<size_t>(num_blocks * kv_bytes_per_block()), false);
  kv_blocks_ = num_blocks;
}

uint8_t* Executor::kv_block(int layer, int64_t block) const {
  return kv_memory_.data() + (layer * kv_blocks_ + block) * kv_.block_bytes();
}

void Executor::check_blocks(const int32_t* blocks, int64_t count) const {
  for (int64_t i = 0; i < count; ++i) {
    if (blocks[i] < 0 || blocks[i] >= kv_blocks_) refuse("a KV block outside the pool");
  }
}

void Executor::read_kv(const int32_t* blocks, int64_t count, uint8_t* out) const {
  check_blocks(blocks, count);
  const auto bytes = static_cast<size_t>(kv_.block_bytes());
  for (int64_t i = 0; i < count; ++i) {
    for (int layer = 0; layer < kv_.num_layers; ++layer, out += bytes) {
      std::memcpy(out, kv_block(layer, blocks[i]), bytes);
    }
  }
}

void Executor::write_kv(const int32_t* blocks, int64_t count, const uint8_t* in) {
  check_blocks(blocks, count);
  const auto bytes = static_cast<size_t>(kv_.block_bytes());
  for (int64_t i = 0; i < count; ++i) {
    for (int layer = 0; layer < kv_.num_layers; ++layer, in += bytes) {
      std::memcpy(kv_block(layer, blocks[i]), in, bytes);
    }
  }
}

int64_t Executor::activation_bytes() const {
  return static_cast<int64_t>(arena_.size() + (logit_scratch_.size() + partials_.size()) * sizeof(float));
}

void Executor::check(const StepInput& in, const SampleInput& out) const {
  if (in.tokens < 1 || in.tokens > limits_.max_tokens) refuse("a step takes 1 to max_step_tokens tokens");
  if (in.seqs < 1 || in.seqs > limits_.max_seqs) refuse("a step takes 1 to max_step_seqs sequences");
  if (in.rows < 0 || in.rows > limits_.max_tokens) refuse("more logit rows than tokens");
  for (int t = 0; t < in.tokens; ++t) {
    if (in.token_ids[t] < 0 || in.token_ids[t] >= limits_.vocab) refuse("token id outside the vocabulary");
  }
  for (int r = 0; r < in.rows; ++r) {
    if (in.logit_rows[r] < 0 || in.logit_rows[r] >= in.tokens) refuse("logit row outside the step");
    if (out.targets && (out.targets[r] < 0 || out.targets[r] >= limits_.vocab)) refuse("target outside the vocabulary");
  }
  if (in.query_starts[0] != 0 || in.query_starts[in.seqs] != in.tokens) refuse("query_starts do not cover the tokens");
  for (int s = 0; s < in.seqs; ++s) {
    const int from = in.query_starts[s], to = in.query_starts[s + 1];
    if (from >= to || to > in.tokens) refuse("query_starts do not rise to the number of tokens");
    const int64_t first = static_cast<int64_t>(in.kv_lens[s]) - (to - from);
    const int64_t blocks = (static_cast<int64_t>(in.kv_lens[s]) + kKvBlock - 1) / kKvBlock;
    if (first < 0 || blocks > in.blocks_per_seq) refuse("kv_lens disagree with the tokens or the block tables");
    for (int t = from; t < to; ++t) {
      if (in.positions[t] != first + (t - from)) refuse("positions do not end at kv_len");
    }
    for (int64_t b = 0; b < blocks; ++b) {
      const int32_t block = in.block_tables[static_cast<int64_t>(s) * in.blocks_per_seq + b];
      if (block < 0 || block >= kv_blocks_) refuse("block table points outside the KV pool");
    }
  }
}

void Executor::step(const StepInput& in, const SampleInput& out) {
  check(in, out);
  in_ = in;
  out_ = out;
  cos_sin_.resize(static_cast<size_t>(in.tokens) * static_cast<size_t>(rotary_dim_));
  const size_t logit_rows = out.needs_logits() ? static_cast<size_t>(std::min(in.rows, kLogitRows)) : 0;
  const size_t logit_floats = logit_rows * static_cast<size_t>(limits_.vocab);
  if (logit_scratch_.size() < logit_floats) logit_scratch_.resize(logit_floats);
  const size_t sample_words = in.rows ? (sample_scratch_bytes(limits_.vocab) + 7) / 8 : 0;
  for (Scratch& s : scratch_) {
    if (s.sample.size() < sample_words) s.sample.resize(sample_words);
  }
  plan_attention();
  for (Claims& c : claims_) c.next.store(0, std::memory_order_relaxed);
  std::fill(cursor_.begin(), cursor_.end(), size_t{0});
  pool_.run(&Executor::run_thread, this);
}

void Executor::run_thread(void* self, int thread) {
  auto& e = *static_cast<Executor*>(self);
  e.profile_.enter(thread, 0);
  e.run_positions(thread);
  if (e.are_many(e.in_.tokens)) e.barrier(thread);  // the first stretch needs the angles
  for (const Stretch& s : e.stretches_) e.run_stretch(s, thread);
  if (e.in_.rows) e.run_logits(thread);
  e.profile_.leave(thread);
}

// A thread that takes some rows through a whole stretch finds in its cache what it wrote there, and the barriers
// between the operations fall away. The bits are those of the other order.
void Executor::run_stretch(const Stretch& s, int thread) {
  const int64_t total = s.per_row ? in_.rows : in_.tokens;
  if (!s.by_rows || !are_many(total)) {
    for (size_t i = s.begin; i < s.end; ++i) {
      profile_.enter(thread, i + 1);
      std::visit([&](const auto& op) { run(op, thread); }, ops_[i]);
      barrier(thread);
    }
    return;
  }
  Claims& claims = next_claims(thread);
  Rows rows;
  while (claims.claim_tiles(total, {kTileRows, kLeastRows, kMostRows}, pool_.size(), &rows.begin, &rows.end)) {
    for (size_t i = s.begin; i < s.end; ++i) {
      if (is_gated_[i]) {
        run_gated(i++, rows, thread);
        continue;
      }
      profile_.enter(thread, i + 1);
      std::visit(
          [&](const auto& op) {
            if constexpr (requires { run_rows(op, rows, thread); }) run_rows(op, rows, thread);
          },
          ops_[i]);
    }
  }
  barrier(thread);
}

void Executor::find_stretches() {
  for (size_t i = 0; i < ops_.size(); ++i) {
    is_gated_.push_back(find_gated(i));
    const Stretch alone = std::visit(
        [&](const auto& op) {
          const bool per_row = buffers_[static_cast<size_t>(op.out)].per_row;
          return Stretch{i, i + 1, requires { run_rows(op, Rows{}, 0); }, per_row};
        },
        ops_[i]);
    Stretch* last = stretches_.empty() ? nullptr : &stretches_.back();
    if (last && alone.by_rows && last->by_rows && alone.per_row == last->per_row) {
      last->end = i + 1;
    } else {
      stretches_.push_back(alone);
    }
  }
}

void Executor::barrier(int thread) {
  if (!profile_.on()) return pool_.barrier(thread);
  const int64_t since_ns = Profile::clock_ns();
  pool_.barrier(thread);
  profile_.waited(thread, Profile::clock_ns() - since_ns);
}

Claims& Executor::next_claims(int thread) { return claims_[cursor_[static_cast<size_t>(thread) * 8]++]; }

KvView Executor::kv_view(int layer, int kv_head) const {
  uint8_t* base = kv_block(layer, 0) + kv_head * kv_.head_bytes();
  return {base, kv_.block_bytes(), kv_.v_offset(), kv_.head_dim, kv_.padded_dim(), kv_.type};
}

size_t sample_scratch_bytes(int32_t vocab) {
  // Probabilities, a copy of the raw logits, and candidates (probability and id).
  return static_cast<size_t>(vocab) * (2 * sizeof(float) + sizeof(float) + sizeof(int32_t)) + 64;
}

}  // namespace wayra
