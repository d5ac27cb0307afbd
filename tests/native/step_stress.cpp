// Steps random models through random batches with one to four threads, for the sanitizers to watch. It links the core
// itself: Python under ThreadSanitizer would drown the reports. Every array is a heap block of exactly its size, so
// that a kernel that reads past an end is caught.
//
//   step_stress KERNELS.so STEPS SEED    exit code 1 when the number of threads changes a single bit
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "core/executor.h"
#include "core/formats.h"
#include "core/library.h"

namespace {
using wayra::Format;
using Random = std::mt19937_64;

constexpr int kMaxTokens = 96;
constexpr int kMaxSeqs = 6;
constexpr int kContext = 640;  // more than two attention splits
constexpr int kBlocksPerSeq = kContext / wayra::kKvBlock;
constexpr int kMaxThreads = 4;

int below(Random& random, int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); }
float real(Random& random, float low, float high) { return std::uniform_real_distribution<float>(low, high)(random); }

struct Shape {
  int layers, hidden, heads, kv_heads, head_dim, ffn, vocab, window;
  std::vector<Format> formats;
  wayra::KvType kv;
  bool sane;  // weights that are numbers; otherwise any bytes, not-a-numbers and infinities among them
};

// 64-byte aligned, exactly as long as asked for.
class Bytes {
 public:
  explicit Bytes(size_t size) : size_(size), at_(static_cast<uint8_t*>(std::aligned_alloc(64, size))) {}
  ~Bytes() { std::free(at_); }
  Bytes(Bytes&& other) noexcept : size_(other.size_), at_(std::exchange(other.at_, nullptr)) {}
  Bytes& operator=(Bytes&&) = delete;
  uint8_t* data() const { return at_; }
  size_t size() const { return size_; }

 private:
  size_t size_;
  uint8_t* at_;
};

// Where a block keeps its float16 scales.
std::vector<int> scale_offsets(Format format) {
  switch (format) {
    case Format::kQ4_1:
    case Format::kQ5_1:
    case Format::kQ4_K:
    case Format::kQ5_K: return {0, 2};
    case Format::kQ2_K: return {80, 82};
    case Format::kQ3_K: return {108};
    case Format::kQ6_K: return {208};
    default: return {0};
  }
}

std::vector<uint8_t> raw_weights(Format format, int rows, int cols, bool sane, Random& random) {
  const wayra::FormatInfo& info = *wayra::format_info(format);
  const auto blocks = static_cast<size_t>(rows) * static_cast<size_t>(cols / info.block_len);
  const auto block_bytes = static_cast<size_t>(info.block_bytes);
  const auto row_scale_bytes = static_cast<size_t>(info.row_scale_bytes);
  std::vector<uint8_t> raw(blocks * block_bytes + static_cast<size_t>(rows) * row_scale_bytes);
  for (uint8_t& byte : raw) byte = static_cast<uint8_t>(random());
  if (!sane) return raw;
  if (row_scale_bytes > 0) {
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
      const float scale = real(random, 0.0f, 0.01f);
      std::memcpy(raw.data() + r * (raw.size() / static_cast<size_t>(rows)), &scale, sizeof scale);
    }
    return raw;
  }
  for (size_t b = 0; b < blocks; ++b) {
    uint8_t* block = raw.data() + b * block_bytes;
    if (format == Format::kF32) {
      const float value = real(random, -0.1f, 0.1f);
      std::memcpy(block, &value, 4);
    } else if (format == Format::kF16 || format == Format::kBF16) {
      block[1] = static_cast<uint8_t>((block[1] & 0x83) | (format == Format::kF16 ? 0x20 : 0x3c));
    } else {
      for (int at : scale_offsets(format)) block[at + 1] = static_cast<uint8_t>((block[at + 1] & 0x83) | 0x08);
    }
  }
  return raw;
}

// The weights of a model, packed; shared by the executors of all thread counts.
struct Weights {
  std::vector<Bytes> packed;
  std::vector<wayra::PackedMatrix> matrices;
  std::vector<std::vector<float>> vectors;

  void add_matrix(const Shape& s, int rows, int cols, Random& random) {
    std::vector<Format> possible;
    for (Format f : s.formats) {
      if (cols % wayra::format_info(f)->block_len == 0) possible.push_back(f);
    }
    const Format format = possible[matrices.size() % possible.size()];
    const std::vector<uint8_t> raw = raw_weights(format, rows, cols, s.sane, random);
    packed.emplace_back(static_cast<size_t>(wayra::packed_bytes(format, rows, cols)));
    wayra::pack_panels(format, rows, cols, raw.data(), nullptr, 0, (rows + 15) / 16, packed.back().data());
    matrices.push_back({format, rows, cols, 0, 0, packed.back().data()});
  }
  void add_vector(int n, float low, float high, Random& random) {
    vectors.emplace_back(static_cast<size_t>(n));
    for (float& v : vectors.back()) v = real(random, low, high);
  }
};

// Order: embed, then qkv, o, gate_up, down of every layer, then the head; two norms a layer, the last norm,
// frequencies.
Weights make_weights(const Shape& s, Random& random) {
  Weights w;
  const int q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  w.add_matrix(s, s.vocab, s.hidden, random);
  for (int layer = 0; layer < s.layers; ++layer) {
    w.add_matrix(s, q, s.hidden, random);
    w.add_matrix(s, 2 * kv, s.hidden, random);
    w.add_matrix(s, s.hidden, q, random);
    w.add_matrix(s, 2 * s.ffn, s.hidden, random);
    w.add_matrix(s, s.hidden, s.ffn, random);
    w.add_vector(s.hidden, 0.5f, 1.5f, random);
    w.add_vector(s.hidden, 0.5f, 1.5f, random);
    w.add_vector(q + 2 * kv, -0.5f, 0.5f, random);
  }
  w.add_matrix(s, s.vocab, s.hidden, random);
  w.add_vector(s.hidden, 0.5f, 1.5f, random);
  w.add_vector(s.head_dim / 2, 0.0f, 1.0f, random);
  return w;
}

// The Llama Program by hand. Buffers keep both forms wherever groups of 32 fit.
class Model {
 public:
  Model(const wayra::KernelTable* kernels, const Shape& s, const Weights& w, int threads)
      : shape_(s),
        executor_(kernels, threads, {kMaxTokens, kMaxSeqs, s.vocab}, {s.layers, s.kv_heads, s.head_dim, s.kv}) {
    for (const wayra::PackedMatrix& m : w.matrices) executor_.add_matrix(m);
    for (const std::vector<float>& v : w.vectors) executor_.add_vector(v);
    build(static_cast<int>(w.vectors.size()), static_cast<int>(w.matrices.size()));
    executor_.finish();
    executor_.allocate_kv(kMaxSeqs * kBlocksPerSeq);
  }
  wayra::Executor& executor() { return executor_; }

 private:
  int buffer(int cols, bool per_row = false, bool for_head = false) {
    return executor_.add_buffer({cols, per_row, true, cols % wayra::kGroup == 0, for_head, true, !for_head}, -1);
  }

  int taken(int in, int cols) {
    const int out = buffer(cols, true);
    executor_.add_op(wayra::TakeRowsOp{in, out});
    return out;
  }

  void build(int vectors, int matrices) {
    const Shape& s = shape_;
    const int q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
    int x = buffer(s.hidden), h = buffer(s.hidden), attended = buffer(q), delta = buffer(s.hidden);
    int gate_up = buffer(2 * s.ffn), gated = buffer(s.ffn);
    const int qkv = buffer(q + 2 * kv), rotated = buffer(q);
    const float scale = 0.2f;
    executor_.set_rope(vectors - 1, 1.0f);
    executor_.add_op(wayra::EmbedOp{0, x});
    for (int layer = 0; layer < s.layers; ++layer) {
      const int m = 1 + 5 * layer, v = 3 * layer;
      const bool last = layer == s.layers - 1;
      executor_.add_op(wayra::NormOp{x, layer ? delta : -1, v, 1e-5f, h});
      executor_.add_op(wayra::LinearOp{h, qkv, {m, m + 1}, v + 2, false});
      executor_.add_op(wayra::RopeStoreOp{qkv, rotated, layer, s.heads, s.kv_heads, s.head_dim, s.head_dim / 2 * 2});
      executor_.add_op(wayra::AttentionOp{rotated, attended, layer, s.heads, s.kv_heads, s.head_dim, scale,
                                          layer ? s.window : 0, last});
      if (last) {
        x = taken(x, s.hidden);
        attended = taken(attended, q);
        h = buffer(s.hidden, true), delta = buffer(s.hidden, true);
        gate_up = buffer(2 * s.ffn, true), gated = buffer(s.ffn, true);
      }
      executor_.add_op(wayra::LinearOp{attended, delta, {m + 2}, -1, true});
      executor_.add_op(wayra::NormOp{x, delta, v + 1, 1e-5f, h});
      executor_.add_op(wayra::LinearOp{h, gate_up, {m + 3}, -1, false});
      executor_.add_op(wayra::SwigluOp{gate_up, gated});
      executor_.add_op(wayra::LinearOp{gated, delta, {m + 4}, -1, false});
    }
    const int normed = buffer(s.hidden, true, true);
    executor_.add_op(wayra::NormOp{x, delta, vectors - 2, 1e-5f, normed});
    executor_.set_logits({normed, matrices - 1, false});
  }

  Shape shape_;
  wayra::Executor executor_;
};

// A step's arrays and what they are sampled with.
struct Batch {
  std::vector<int32_t> tokens, positions, starts{0}, kv_lens, tables, rows, targets;
  std::vector<float> temperature, top_p, min_p, repetition, presence, frequency, bias_values;
  std::vector<int32_t> top_k, history_starts{0}, history_ids, history_counts, bias_starts{0}, bias_ids;
  std::vector<uint64_t> seeds, draws;
  std::vector<uint32_t> allowed;
  int num_logprobs = 0;
};

struct Result {
  std::vector<int32_t> ids, top_ids;
  std::vector<float> logprobs, top_logprobs, target_logprobs, logits;
};

// Sequences that grow by chunks, end, and leave their blocks to others.
class Traffic {
 public:
  explicit Traffic(const Shape& s, uint64_t seed) : shape_(s), random_(seed) {
    for (int b = 0; b < kMaxSeqs * kBlocksPerSeq; ++b) free_.push_back(b);
    std::shuffle(free_.begin(), free_.end(), random_);
  }

  Batch next() {
    Batch b;
    const int seqs = 1 + below(random_, kMaxSeqs);
    for (int s = 0; s < seqs; ++s) add_sequence(b, s, kMaxTokens - static_cast<int>(b.tokens.size()) - (seqs - s - 1));
    const int wanted = below(random_, static_cast<int>(b.tokens.size()) + 1);
    for (int r = 0; r < wanted; ++r) add_row(b);
    b.num_logprobs = below(random_, std::min(21, shape_.vocab + 1));
    return b;
  }

 private:
  void add_sequence(Batch& b, int s, int room) {
    Sequence& seq = seqs_[s];
    if (seq.len >= kContext - kMaxTokens || below(random_, 12) == 0) {
      free_.insert(free_.begin(), seq.blocks.begin(), seq.blocks.end());
      seq = Sequence{};
    }
    const int count = 1 + (below(random_, 3) ? 0 : below(random_, room));
    for (int i = 0; i < count; ++i) {
      b.tokens.push_back(below(random_, shape_.vocab));
      b.positions.push_back(seq.len++);
    }
    while (static_cast<int>(seq.blocks.size()) * wayra::kKvBlock < seq.len) {
      seq.blocks.push_back(free_.back());
      free_.pop_back();
    }
    b.starts.push_back(static_cast<int32_t>(b.tokens.size()));
    b.kv_lens.push_back(seq.len);
    for (size_t i = 0; i < kBlocksPerSeq; ++i) b.tables.push_back(i < seq.blocks.size() ? seq.blocks[i] : -1);
  }

  void add_row(Batch& b) {
    const auto one_of = [&](float off, float low, float high) {
      return below(random_, 2) ? off : real(random_, low, high);
    };
    b.rows.push_back(below(random_, static_cast<int>(b.tokens.size())));
    b.targets.push_back(below(random_, shape_.vocab));
    b.temperature.push_back(one_of(0.0f, 1e-3f, 3.0f));
    b.top_p.push_back(one_of(1.0f, 1e-6f, 1.0f));
    b.min_p.push_back(one_of(0.0f, 0.0f, 1.0f));
    b.repetition.push_back(one_of(1.0f, 0.5f, 2.0f));
    b.presence.push_back(one_of(0.0f, -2.0f, 2.0f));
    b.frequency.push_back(one_of(0.0f, -2.0f, 2.0f));
    b.top_k.push_back(below(random_, 2) ? 0 : below(random_, 2 * shape_.vocab));
    b.seeds.push_back(random_());
    b.draws.push_back(random_());
    for (int i = below(random_, 9); i > 0; --i) {
      b.history_ids.push_back(below(random_, shape_.vocab));
      b.history_counts.push_back(below(random_, 3));
    }
    b.history_starts.push_back(static_cast<int32_t>(b.history_ids.size()));
    for (int i = below(random_, 9); i > 0; --i) {
      b.bias_ids.push_back(below(random_, shape_.vocab));
      b.bias_values.push_back(real(random_, -100.0f, 100.0f));
    }
    b.bias_starts.push_back(static_cast<int32_t>(b.bias_ids.size()));
    for (int word = 0; word < (shape_.vocab + 31) / 32; ++word)
      b.allowed.push_back(static_cast<uint32_t>(random_()) | 1u);
  }

  struct Sequence {
    int len = 0;
    std::vector<int> blocks;
  };
  Shape shape_;
  Random random_;
  Sequence seqs_[kMaxSeqs];
  std::vector<int> free_;
};

Result step(wayra::Executor& executor, const Batch& b, int vocab) {
  const size_t rows = b.rows.size(), top = rows * static_cast<size_t>(b.num_logprobs);
  Result r{std::vector<int32_t>(rows), std::vector<int32_t>(top),
           std::vector<float>(rows),   std::vector<float>(top),
           std::vector<float>(rows),   std::vector<float>(rows * static_cast<size_t>(vocab))};
  const wayra::StepInput in{b.tokens.data(),
                            b.positions.data(),
                            b.starts.data(),
                            b.kv_lens.data(),
                            b.tables.data(),
                            b.rows.data(),
                            static_cast<int32_t>(b.tokens.size()),
                            static_cast<int32_t>(b.kv_lens.size()),
                            kBlocksPerSeq,
                            static_cast<int32_t>(rows)};
  wayra::SampleInput out{};
  out.sample = true;
  out.temperature = b.temperature.data();
  out.top_p = b.top_p.data();
  out.min_p = b.min_p.data();
  out.repetition_penalty = b.repetition.data();
  out.presence_penalty = b.presence.data();
  out.frequency_penalty = b.frequency.data();
  out.top_k = b.top_k.data();
  out.seeds = b.seeds.data();
  out.draws = b.draws.data();
  out.history_starts = b.history_starts.data();
  out.history_ids = b.history_ids.data();
  out.history_counts = b.history_counts.data();
  out.bias_starts = b.bias_starts.data();
  out.bias_ids = b.bias_ids.data();
  out.bias_values = b.bias_values.data();
  out.allowed = b.seeds.size() % 2 ? b.allowed.data() : nullptr;
  out.num_logprobs = b.num_logprobs;
  out.targets = b.targets.data();
  out.token_ids = r.ids.data();
  out.logprobs = r.logprobs.data();
  out.top_ids = r.top_ids.data();
  out.top_logprobs = r.top_logprobs.data();
  out.target_logprobs = r.target_logprobs.data();
  out.logits = r.logits.data();
  executor.step(in, out);
  return r;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

bool is_sound(const Result& r, const Result& alone, const Shape& s) {
  for (int32_t id : r.ids) {
    if (id < (s.sane ? 0 : -1) || id >= s.vocab) return false;
  }
  return !s.sane || (same_bits(r.ids, alone.ids) && same_bits(r.top_ids, alone.top_ids) &&
                     same_bits(r.logprobs, alone.logprobs) && same_bits(r.top_logprobs, alone.top_logprobs) &&
                     same_bits(r.target_logprobs, alone.target_logprobs) && same_bits(r.logits, alone.logits));
}

bool stress(const wayra::KernelTable* kernels, const Shape& s, int steps, uint64_t seed) {
  Random random(seed);
  const Weights weights = make_weights(s, random);
  std::vector<std::unique_ptr<Model>> models;
  for (int t = 1; t <= kMaxThreads; ++t) models.push_back(std::make_unique<Model>(kernels, s, weights, t));
  Traffic traffic(s, seed);
  for (int i = 0; i < steps; ++i) {
    const Batch batch = traffic.next();
    const Result alone = step(models[0]->executor(), batch, s.vocab);
    for (size_t t = 0; t < models.size(); ++t) {
      const Result found = t ? step(models[t]->executor(), batch, s.vocab) : alone;
      if (is_sound(found, alone, s)) continue;
      std::printf("step %d with %zu threads differs from one thread, or chose no token\n", i, t + 1);
      return false;
    }
  }
  return true;
}

std::vector<Shape> shapes() {
  const std::vector<Format> floats{Format::kF32, Format::kF16, Format::kBF16};
  const std::vector<Format> small{Format::kQ4_0, Format::kQ4_1, Format::kQ5_0,
                                  Format::kQ5_1, Format::kQ8_0, Format::kI8};
  const std::vector<Format> super{Format::kQ2_K, Format::kQ3_K, Format::kQ4_K, Format::kQ5_K, Format::kQ6_K};
  return {
      {2, 72, 3, 1, 40, 100, 203, 37, floats, wayra::KvType::kF32, true},
      {2, 96, 6, 2, 32, 160, 77, 300, small, wayra::KvType::kF16, true},
      {2, 256, 8, 2, 64, 256, 131, 5, super, wayra::KvType::kBF16, true},
      {2, 40, 2, 2, 20, 50, 37, 0, floats, wayra::KvType::kF16, false},
      {2, 64, 3, 1, 32, 96, 45, 290, small, wayra::KvType::kF32, false},
      {1, 256, 4, 2, 64, 256, 33, 0, super, wayra::KvType::kF16, false},
      {2, 96, 6, 2, 32, 160, 77, 300, small, wayra::KvType::kInt8, true},
      {2, 72, 3, 1, 42, 100, 203, 37, floats, wayra::KvType::kInt8, true},
      {1, 256, 4, 2, 64, 256, 33, 0, super, wayra::KvType::kInt8, false},
      {2, 72, 3, 1, 42, 100, 203, 37, floats, wayra::KvType::kInt16, true},
      {1, 256, 4, 2, 64, 256, 333, 0, super, wayra::KvType::kInt16, false},
  };
}
}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: step_stress KERNELS.so STEPS SEED\n");
    return 2;
  }
  const wayra::KernelTable* kernels = wayra::load_kernels(argv[1]);
  uint64_t seed = std::strtoull(argv[3], nullptr, 10);
  for (const Shape& s : shapes()) {
    if (!stress(kernels, s, std::atoi(argv[2]), seed++)) return 1;
  }
  std::printf("%s: sound\n", kernels->name);
  return 0;
}
