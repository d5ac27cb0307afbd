// Runs a lowered Program: one call a step, every thread walking the same list of operations, a barrier after each.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/memory.h"
#include "core/plan.h"
#include "core/profile.h"
#include "core/threads.h"

namespace wayra {

// Rows of each thread from which on threads take rows through a stretch of operations.
constexpr int64_t kStretchRows = 64;
// How many of them at a time: all weights of the stretch are read anew for them, and their floats stay in the caches.
constexpr int64_t kLeastRows = 96, kMostRows = 192;

class Executor {
 public:
  Executor(const KernelTable* kernels, int threads, Limits limits, KvShape kv);

  int add_matrix(const PackedMatrix& m);
  int add_vector(const std::vector<float>& v);
  int add_buffer(BufferKind kind, int shares);
  void add_op(Op op) { ops_.push_back(std::move(op)); }
  void set_logits(LogitsOp op) { logits_ = op; }
  void set_rope(int inv_freq_vector, float magnitude);
  // Checks every index and width, then allocates the activations. Throws std::invalid_argument.
  void finish();

  // Throws std::bad_alloc.
  void allocate_kv(int64_t num_blocks);
  int64_t kv_bytes_per_block() const { return kv_.block_bytes() * kv_.num_layers; }
  int64_t activation_bytes() const;

  // Copies whole KV blocks, layer after layer, out of and into the pool. Throws std::invalid_argument for a block
  // outside the pool; call between steps only.
  void read_kv(const int32_t* blocks, int64_t count, uint8_t* out) const;
  void write_kv(const int32_t* blocks, int64_t count, const uint8_t* in);

  // Entries of a profile: the rotary angles, every operation in its order, the logits, sampling.
  void start_profile() { profile_.start(pool_.size(), ops_.size() + 3); }
  void stop_profile() { profile_.stop(); }
  const Profile& profile() const { return profile_; }
  int threads() const { return pool_.size(); }
  int hidden_size() const { return buffers_[static_cast<size_t>(logits_.in)].cols; }

  // Throws std::invalid_argument when the arrays do not fit each other, the limits or the KV pool.
  void step(const StepInput& in, const SampleInput& out);

 private:
  // Query rows of one sequence and KV head; split >= 0 restricts it to one split, whose partial result goes to `slot`.
  // has_row: a token among them has a logit row.
  struct AttentionItem {
    int seq, kv_head, row_begin, rows, split, slot;
    bool has_row;
  };
  // A sequence's rows whose splits were computed apart and are merged in a second phase.
  struct MergeItem {
    int seq, kv_head, row_begin, rows, first_slot, splits;
    bool has_row;
  };
  struct Scratch {
    AlignedFloats row;             // kTileRows of the widest buffer
    AlignedFloats scores;          // [kMaxAttentionRows][kSplitKeys]
    AlignedFloats running;         // [kMaxAttentionRows][2 + padded_dim]
    AlignedFloats gated;           // a few columns of gate and up of some rows
    std::vector<uint64_t> sample;  // sample_scratch_bytes
  };

  static void run_thread(void* self, int thread);
  void check(const StepInput& in, const SampleInput& out) const;
  void check_buffer(int index, int cols, const char* what) const;
  void check_linear(int in, const std::vector<int>& parts, bool quantise_input, const char* what) const;
  void lay_out();
  void plan_attention();
  uint8_t* kv_block(int layer, int64_t block) const;
  void check_blocks(const int32_t* blocks, int64_t count) const;

  // So many that each thread can take some of them through several operations.
  bool are_many(int64_t rows) const { return rows >= kStretchRows * pool_.size(); }

  // All rows, shared among the threads.
  void run_positions(int thread);
  void run(const LinearOp& op, int thread);
  void run(const AttentionOp& op, int thread);
  template <class RowOp>
  void run(const RowOp& op, int thread);
  void run_logits(int thread);

  // Operations [begin, end): by_rows when no row of theirs needs another row, which are logit rows if per_row, else
  // tokens; an operation alone if not by_rows.
  struct Stretch {
    size_t begin, end;
    bool by_rows, per_row;
  };
  void find_stretches();
  // One thread's part of the operations: one after the other, or, with many rows, all of them for some rows at a time.
  void run_stretch(const Stretch& s, int thread);

  // Some rows, by the calling thread alone; rows.begin of a product is a multiple of kTileRows.
  struct Rows {
    int64_t begin, end;
  };
  void run_rows(const EmbedOp& op, Rows rows, int thread);
  void run_rows(const NormOp& op, Rows rows, int thread);
  void run_rows(const LinearOp& op, Rows rows, int thread);
  void run_rows(const RopeStoreOp& op, Rows rows, int thread);
  void run_rows(const SwigluOp& op, Rows rows, int thread);
  void run_rows(const TakeRowsOp& op, Rows rows, int thread);
  // Whether operation `index` is a product of gate and up, and the next one their activation and their only reader.
  bool find_gated(size_t index) const;
  // Both, for some rows.
  void run_gated(size_t index, Rows rows, int thread);
  void sample_row(int row, float* logits, int thread);

  // A product's parts stacked along the rows, and where its results go.
  struct Product {
    const std::vector<int>& parts;
    const ActRows& x;
    const float* bias;
    float* out;
    int64_t out_stride;
  };
  Product product_of(const LinearOp& op) const;
  int64_t panels_of(const std::vector<int>& parts) const;
  void multiply(const Product& p, int64_t panel_begin, int64_t panel_end, Rows rows) const;
  void multiply_shared(const Product& p, Rows rows, Claims& claims);
  void quantise_rows(const Buffer& b, int rows, Claims& claims);
  void emit_row(const Buffer& out, int64_t row, const float* values);
  struct Groups {
    int32_t begin, end;
  };
  // Some groups of some rows in the forms that consumers need, from values [rows][stride].
  void emit_rows(const Buffer& out, Rows rows, const float* values, int64_t stride, Groups groups);
  void attend(const AttentionOp& op, const AttentionItem& item, const AttentionItem* next, Scratch& s);
  void merge(const AttentionOp& op, const MergeItem& item, Scratch& s);
  void write_heads(const AttentionOp& op, int seq, int kv_head, int row_begin, int rows, const float* running);
  KvView kv_view(int layer, int kv_head) const;
  const int32_t* blocks_of(int seq) const { return in_.block_tables + static_cast<int64_t>(seq) * in_.blocks_per_seq; }
  int rows_of(const Buffer& b) const { return b.per_row ? in_.rows : in_.tokens; }
  Claims& next_claims(int thread);
  void barrier(int thread);

  const KernelTable* kernels_;
  const bool pair_panels_;
  const Limits limits_;
  const KvShape kv_;
  std::vector<PackedMatrix> matrices_;
  std::vector<AlignedFloats> vectors_;
  std::vector<Buffer> buffers_;
  std::vector<int> shares_;  // buffer whose memory a buffer uses, or itself
  std::vector<Op> ops_;
  std::vector<Stretch> stretches_;
  std::vector<char> is_gated_;  // [operations]
  LogitsOp logits_;
  int inv_freq_ = -1;
  float magnitude_ = 1.0f;

  Memory arena_;
  Memory kv_memory_;
  int64_t kv_blocks_ = 0;
  AlignedFloats cos_sin_;        // [tokens][rotary_dim]
  AlignedFloats logit_scratch_;  // [kLogitRows][vocab]
  AlignedFloats partials_;       // [slots][kMaxAttentionRows][2 + padded_dim]
  std::vector<AttentionItem> items_;
  std::vector<MergeItem> merges_;
  std::vector<int32_t> rows_before_;  // [tokens + 1] how many of the tokens before have a logit row
  std::vector<Scratch> scratch_;
  std::vector<Claims> claims_;
  std::vector<size_t> cursor_;  // next claim counter of each thread, padded
  int rotary_dim_ = 0;
  StepInput in_{};
  SampleInput out_{};
  Profile profile_;
  ThreadPool pool_;  // last: its threads end before the rest goes
};

}  // namespace wayra
