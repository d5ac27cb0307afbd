// The lowered Program: what the executor runs. Built once through `Executor::add_*`, then only read.
#pragma once
#include <cstdint>
#include <variant>
#include <vector>

#include "core/abi.h"

namespace wayra {

// What is asked of a buffer.
struct BufferKind {
  int32_t cols;
  bool per_row;  // rows are logit rows, not tokens
  bool f32;
  bool int8;
  bool fine;  // int8 is of 15 bits instead of 8
  bool words;
  bool bf16;

  bool has_groups() const { return int8 || words || bf16; }
};

// A value of the Program. Rows are tokens or logit rows; they are kept in the forms that consumers need.
struct Buffer : BufferKind {
  float* values = nullptr;  // the floats, writable
  ActRows view{};
};

struct EmbedOp {
  int matrix, out;
};
struct NormOp {
  int x, delta;  // x is updated in place; delta -1 for none
  int weight;
  float eps;
  int out;
};
struct LinearOp {
  int in, out;
  std::vector<int> parts;  // matrices stacked along the rows
  int bias;                // vector or -1
  bool quantise_input;     // nobody has quantised the input yet
};
struct RopeStoreOp {
  int qkv, out;
  int layer;
  int num_heads, num_kv_heads, head_dim, rotary_dim;
};
struct AttentionOp {
  int q, out;
  int layer;
  int num_heads, num_kv_heads, head_dim;
  float scale;
  int window;      // 0: none
  bool only_rows;  // only the rows whose logits are wanted are read
};
struct SwigluOp {
  int in, out;
};
struct TakeRowsOp {
  int in, out;
};
using Op = std::variant<EmbedOp, NormOp, LinearOp, RopeStoreOp, AttentionOp, SwigluOp, TakeRowsOp>;

constexpr int kLogitRows = 32;  // rows of logits held at a time

struct LogitsOp {
  int in = -1;
  int matrix = -1;
  bool quantise_input = false;
};

struct KvShape {
  int num_layers, num_kv_heads, head_dim;
  KvType type;

  int padded_dim() const { return (head_dim + kLanes - 1) / kLanes * kLanes; }
  int64_t element_bytes() const { return element_bytes_of(type); }
  int64_t scale_bytes() const { return is_scaled(type) ? kKvScaleBytes : 0; }
  int64_t v_offset() const {
    const int side_by_side = key_dims_of(type);
    const int64_t dims = (head_dim + side_by_side - 1) / side_by_side * side_by_side;
    return kKvBlock * dims * element_bytes() + scale_bytes();
  }
  int64_t head_bytes() const {
    return v_offset() + static_cast<int64_t>(kKvBlock) * padded_dim() * element_bytes() + scale_bytes();
  }
  int64_t block_bytes() const { return head_bytes() * num_kv_heads; }  // of one layer
};

struct Limits {
  int max_tokens, max_seqs, vocab;
};

// One step's arrays; meanings as in backends/api.py. Not owned.
struct StepInput {
  const int32_t* token_ids;
  const int32_t* positions;
  const int32_t* query_starts;
  const int32_t* kv_lens;
  const int32_t* block_tables;
  const int32_t* logit_rows;
  int32_t tokens, seqs, blocks_per_seq, rows;
};

// Sampling and scoring of the rows; null pointers switch parts off.
struct SampleInput {
  bool sample;
  const float *temperature, *top_p, *min_p, *repetition_penalty, *presence_penalty, *frequency_penalty;
  const int32_t* top_k;
  const uint64_t *seeds, *draws;
  const int32_t *history_starts, *history_ids, *history_counts;
  const int32_t *bias_starts, *bias_ids;
  const float* bias_values;
  const uint32_t* allowed;
  int32_t num_logprobs;
  const int32_t* targets;
  int32_t* token_ids;
  float* logprobs;
  int32_t* top_ids;
  float* top_logprobs;
  float* target_logprobs;
  float* logits;  // [rows][vocab] or null
  float* hidden;  // [rows][columns of the head] or null: what the head multiplies

  bool needs_logits() const { return sample || targets || num_logprobs || logits; }
};

}  // namespace wayra
