// The border between the executor (compiled for any CPU of the architecture) and the kernel libraries (one per
// instruction set, loaded at run time). Plain data and function pointers only.
#pragma once
#include <cstddef>
#include <cstdint>

namespace wayra {

// Weight formats by their GGML id.
enum class Format : int32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kI8 = 24,  // integers with a float32 scale a row
  kBF16 = 30,
};

enum class KvType : int32_t { kF32 = 0, kF16 = 1, kBF16 = 2, kInt8 = 3, kInt16 = 4 };

// Dimensions of a key that lie side by side.
constexpr int32_t key_dims_of(KvType type) {
  return type == KvType::kInt8 ? 4 : type == KvType::kBF16 || type == KvType::kInt16 ? 2 : 1;
}
constexpr int32_t element_bytes_of(KvType type) { return type == KvType::kF32 ? 4 : type == KvType::kInt8 ? 1 : 2; }
// Whether integers are kept, with a scale a head of a token.
constexpr bool is_scaled(KvType type) { return type == KvType::kInt8 || type == KvType::kInt16; }

constexpr int kLanes = 16;                   // weight rows interleaved in a panel
constexpr int kGroup = 32;                   // consecutive k that share an activation scale
constexpr int kWordSteps = 8191;             // largest integer of a weight's word
constexpr int kTileRows = 8;                 // rows of activations stored together
constexpr int kKvBlock = 32;                 // tokens in a KV block
constexpr int kKvScaleBytes = 4 * kKvBlock;  // of the keys of a block, and of its values
constexpr int kSplitKeys = 256;              // keys in an attention split; splits start at multiples of it
constexpr int kMaxHeadDim = 1024;

// A packed matrix: ceil(rows / 16) panels of panel_bytes; a panel holds its codes, then (at scale_offset) its scales.
struct PackedMatrix {
  Format format;
  int32_t rows;
  int32_t cols;
  int64_t panel_bytes;
  int64_t scale_offset;
  const uint8_t* data;  // 64-byte aligned, not owned
};

// Rows of activations in the forms that weights are multiplied with; what no consumer needs is null. All but f32 lie in
// tiles of eight rows, group after group, so that a kernel walks one stretch of memory: the entry of (row, group) is
// number `at(row, group)` of each array. Beyond the last column words and bf16 are zero.
struct ActRows {
  const float* f32;    // [rows][cols]
  int8_t* q;           // [entries][32]
  int8_t* low;         // [entries][32] or null; with it the integer of a value is 128 * q + low, 15 bits
  float* scale;        // [entries]
  float* sum;          // [entries] scale times the sum of the group's integers
  int32_t* neg_sum;    // [entries] minus the sum of the group's integers
  int32_t* neg_sum16;  // [entries][2] the same for each half group
  int16_t* words;      // [entries][32] integers whose products with a weight's words sum to less than 2^31
  float* word_scale;   // [entries]
  uint16_t* bf16;      // [entries][32]
  int32_t cols;
  int32_t groups;  // the last may be shorter, but for int8

  int64_t at(int64_t row, int64_t group) const {
    return (row / kTileRows * groups + group) * kTileRows + row % kTileRows;
  }
};

struct LinearArgs {
  const PackedMatrix* weight;
  const ActRows* x;
  const float* bias;   // [rows of weight] or null
  float* out;          // element (row of x, row of weight) at out[row * out_stride + weight_row]
  int64_t out_stride;  // in floats
  int32_t panel_begin, panel_end;
  int32_t row_begin, row_end;
  bool pair_panels;  // tiles of two panels: where loads rather than products are the limit
};

// One KV head of one layer: block b at base + b * block_stride (bytes), its keys first, then its values.
// F32, F16:  K [2 halves][head_dim][16 keys], V [32 keys][padded_dim].
// BF16:      K [2 halves][pairs of dimensions][16 keys][2], V [16 pairs of keys][padded_dim][2].
// Int8:      K [2 halves][quads of dimensions][16 keys][4] as integer + 128, and float32 [32 keys], a scale a key;
//            V [16 pairs of keys][padded_dim][2], and float32 [32 keys]. Keys and queries are turned (ops/heads.h).
// Int16:     as BF16, and after K and after V float32 [32 keys], a scale a key.
struct KvView {
  uint8_t* base;
  int64_t block_stride;
  int64_t v_offset;  // bytes from K to V within a block
  int32_t head_dim;
  int32_t padded_dim;  // head_dim rounded up to 16
  KvType type;

  int32_t key_dims() const { return key_dims_of(type); }
  int64_t key_scales() const { return v_offset - kKvScaleBytes; }                                   // bytes from K
  int64_t value_scales() const { return int64_t{kKvBlock} * padded_dim * element_bytes_of(type); }  // bytes from V
};

// Attention of `rows` query rows (token-major: row r is token r / ratio, head r % ratio of the KV head) over splits
// [split_begin, split_end), one after the other.
struct AttentionArgs {
  KvView kv;
  const int32_t* block_table;
  const float* q;          // row r at q + (r / ratio) * token_stride + (r % ratio) * head_dim
  int64_t q_token_stride;  // in floats
  int32_t ratio;
  int32_t row_begin;       // first row
  int32_t rows;            // at most kMaxAttentionRows
  int32_t first_position;  // position of row 0's token
  int32_t window;          // keys seen by a query, 0 for all
  int32_t split_begin, split_end;
  const uint8_t* next_base;    // where the keys of this thread's next split lie, as KvView's base and the first of its
  const int32_t* next_blocks;  // blocks
  int32_t next_keys;           // how many it has, 0 where none is known
  float scale;
  float* scores;  // scratch [kMaxAttentionRows][kSplitKeys]
  float* max;     // [rows] out: maximum of the scores, as a logarithm of base 2
  float* sum;     // [rows] out
  float* acc;     // [rows][padded_dim] out
};
constexpr int kMaxAttentionRows = 8;
constexpr float kUnseenMax = -1e30f;  // of a row that sees no key: finite, so that differences of two are no NaN

struct RopeStoreArgs {
  const float* qkv;      // [(heads + 2 * kv_heads) * head_dim] of one token
  const float* cos_sin;  // [2][rotary_dim / 2] of its position: cosines, then sines
  float* q_out;          // [heads * head_dim]
  KvView kv;             // of KV head 0; KV head h at base + h * head_stride
  int64_t kv_head_stride;
  int64_t block;  // KV block of the token
  int32_t slot;   // place in the block
  int32_t num_heads, num_kv_heads, rotary_dim;
};

// Sampling of one logits row. Null arrays and zero counts switch a feature off.
struct SampleArgs {
  float* logits;  // [vocab], overwritten
  int32_t vocab;
  float temperature;
  int32_t top_k;
  float top_p, min_p;
  uint64_t seed, draw;
  float repetition_penalty, presence_penalty, frequency_penalty;
  const int32_t* history_ids;
  const int32_t* history_counts;
  int32_t history_len;
  const int32_t* bias_ids;
  const float* bias_values;
  int32_t bias_len;
  const uint32_t* allowed;  // [ceil(vocab / 32)] or null
  int32_t num_logprobs;
  int32_t target;        // token to score, -1 for none
  bool sample;           // false: only score and report
  void* scratch;         // sample_scratch_bytes(vocab)
  int32_t token_id;      // out
  float logprob;         // out, of token_id
  float target_logprob;  // out
  int32_t* top_ids;      // [num_logprobs] out
  float* top_logprobs;   // [num_logprobs] out
};

// What `spin` measures: products of int8, of bfloat16 and of float32.
enum class Peak : int32_t { kInt8, kBF16, kF32 };

// The operations of one instruction set. Every function is free of state and of allocation.
constexpr int32_t kAbiVersion = 11;  // raised with every change in this file: a library left behind is refused
struct KernelTable {
  int32_t abi_version;
  const char* name;
  void (*linear)(const LinearArgs&);
  // Fills every form of row `row` of x but f32 from src [cols], for groups [group_begin, group_end).
  void (*quantise)(const ActRows& x, int64_t row, const float* src, int32_t group_begin, int32_t group_end);
  // The same, bit for bit, for rows [row, row + kTileRows), row a multiple of that, from src [rows][src_stride].
  void (*quantise_tile)(const ActRows& x, int64_t row, const float* src, int64_t src_stride, int32_t group_begin,
                        int32_t group_end);
  // x += delta (when not null), h = x / rms(x) * weight.
  void (*add_rms_norm)(float* x, const float* delta, const float* weight, float eps, int32_t n, float* h);
  void (*embed)(const PackedMatrix& m, int32_t row, float* out);
  void (*rope_store)(const RopeStoreArgs&);
  void (*attention)(const AttentionArgs&);
  // Merges the results of a split into those of earlier ones; at most kMaxAttentionRows rows.
  void (*merge)(int32_t rows, float* max, float* sum, float* acc, const float* split_max, const float* split_sum,
                const float* split_acc, int32_t padded_dim);
  void (*scale_row)(const float* acc, float factor, int32_t n, float* out);
  void (*swiglu)(const float* gate, const float* up, int32_t n, float* out);
  void (*sample)(SampleArgs&);
  // Multiplies on registers alone; returns the operations done, a multiply-add being two.
  int64_t (*spin)(Peak peak, int64_t rounds);
  void (*read)(const uint8_t* data, int64_t bytes);
};

size_t sample_scratch_bytes(int32_t vocab);

}  // namespace wayra

extern "C" const wayra::KernelTable* wayra_kernels();
