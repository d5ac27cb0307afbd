// One kernel library's operations alone, each on one thread: the least thread CPU time of many repetitions, between
// which all cases take turns. Usage: kernels LIBRARY REPEATS; prints one JSON object a line, the limits first.
// Built on the spot with -O3 -march=native together with formats.cpp and cpus.cpp of csrc/core.
#include <dlfcn.h>
#include <immintrin.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/abi.h"
#include "core/cpus.h"
#include "core/formats.h"
#include "core/plan.h"

using namespace wayra;

namespace {

double cpu_s() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// Zeroed, in huge pages where the system gives them, never freed: the cases live as long as the program.
template <class T>
T* room(size_t count) {
  void* found = nullptr;
  const size_t bytes = count * sizeof(T) + 4096;
  if (posix_memalign(&found, 2 << 20, bytes)) abort();
  madvise(found, bytes, MADV_HUGEPAGE);
  memset(found, 0, bytes);
  return static_cast<T*>(found);
}

float* noise(size_t count) {
  float* out = room<float>(count);
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<float>(rand() % 2001 - 1000) / 1000.0F;
  return out;
}

struct Case {
  std::string name;
  std::string unit;  // the limit its operations run against; empty for none
  double ops, bytes;
  std::function<void()> run;
  double best_s = 1e9;
};

// The form that products with `input` take.
ActRows rows_of(const KernelTable& k, Input input, int rows, int cols) {
  const int groups = cols / kGroup, padded = (rows + kTileRows - 1) / kTileRows * kTileRows;
  const size_t entries = static_cast<size_t>(padded) * groups;
  ActRows x{};
  float* values = noise(static_cast<size_t>(padded) * cols);
  x.f32 = values, x.cols = cols, x.groups = groups;
  if (input == Input::kInt8) {
    x.q = room<int8_t>(entries * kGroup), x.scale = room<float>(entries), x.sum = room<float>(entries);
    x.neg_sum = room<int32_t>(entries), x.neg_sum16 = room<int32_t>(2 * entries);
  }
  if (input == Input::kWords) x.words = room<int16_t>(entries * kGroup), x.word_scale = room<float>(entries);
  if (input == Input::kBF16) x.bf16 = room<uint16_t>(entries * kGroup);
  for (int r = 0; r < rows; ++r) k.quantise(x, r, values + static_cast<size_t>(r) * cols, 0, groups);
  return x;
}

// Weights for one row lie far beyond the caches, for more rows within: there the products are the limit.
void add_linear(std::vector<Case>& cases, const KernelTable& k, Format format, const char* name, int rows) {
  const int cols = 1536, out_rows = rows == 1 ? 32768 : 1024;
  const FormatInfo& info = *format_info(format);
  const size_t bytes = static_cast<size_t>(packed_bytes(format, out_rows, cols));
  uint8_t* data = room<uint8_t>(bytes);
  const bool quantised = info.input == Input::kInt8;
  for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>(quantised ? rand() : 0x3c);
  auto* m = new PackedMatrix{format, out_rows, cols, panel_bytes(info, cols), panel_code_bytes(info, cols), data};
  for (int p = 0; quantised && p < out_rows / kLanes; ++p) {
    auto* scales = reinterpret_cast<uint16_t*>(data + p * m->panel_bytes + m->scale_offset);
    std::fill(scales, scales + (m->panel_bytes - m->scale_offset) / 2, uint16_t{0x1c00});
  }
  auto* x = new ActRows(rows_of(k, info.input, rows, cols));
  float* out = room<float>(static_cast<size_t>(rows) * out_rows);
  // Products of words are as many a cycle as those of bfloat16.
  const char* unit = quantised ? "int8" : "bf16";
  const bool pairs = multiplies_twice_a_cycle();
  const std::string title = "linear " + std::string(name) + " x" + std::to_string(rows);
  cases.push_back({title, unit, 2.0 * rows * cols * out_rows, static_cast<double>(bytes), [=, &k] {
                     // Blocks of rows as the executor takes them, a panel after the other.
                     for (int begin = 0; begin < rows; begin += 64) {
                       const int end = std::min(rows, begin + 64);
                       LinearArgs a{m, x, nullptr, out, out_rows, 0, out_rows / kLanes, begin, end, pairs};
                       k.linear(a);
                     }
                   }});
}

void add_elementwise(std::vector<Case>& cases, const KernelTable& k) {
  constexpr int kRows = 64, kCols = 1536;
  float* in = noise(2 * kRows * kCols);
  float* out = room<float>(kRows * kCols);
  auto* x = new ActRows(rows_of(k, Input::kInt8, kRows, kCols));
  const double values = kRows * kCols;
  cases.push_back({"quantise", "", 0, 4 * values, [=, &k] {
                     for (int r = 0; r < kRows; ++r) k.quantise(*x, r, in + r * kCols, 0, kCols / kGroup);
                   }});
  cases.push_back({"swiglu", "", 0, 8 * values, [=, &k] {
                     for (int r = 0; r < kRows; ++r)
                       k.swiglu(in + 2 * r * kCols, in + (2 * r + 1) * kCols, kCols, out + r * kCols);
                   }});
  float* zeros = room<float>(kCols);
  cases.push_back({"add_rms_norm", "", 0, 8 * values, [=, &k] {
                     for (int r = 0; r < kRows; ++r)
                       k.add_rms_norm(in + r * kCols, zeros, in + kRows * kCols, 1e-5F, kCols, out + r * kCols);
                   }});
}

struct Cache {
  KvType type;
  const char* name;
  const char* unit;  // whose peak is the limit
};

// One KV head of 64 dimensions, `splits` whole splits of keys seen by every row.
void add_attention(std::vector<Case>& cases, const KernelTable& k, Cache cache, const std::string& name, int rows,
                   int splits) {
  constexpr int kDim = 64;
  const int blocks = splits * kSplitKeys / kKvBlock;
  const KvShape shape{1, 1, kDim, cache.type};
  const int64_t bytes = blocks * shape.block_bytes();
  KvView kv{room<uint8_t>(static_cast<size_t>(bytes)), shape.block_bytes(), shape.v_offset(), kDim, kDim, cache.type};
  auto* table = room<int32_t>(static_cast<size_t>(blocks));
  for (int b = 0; b < blocks; ++b) table[b] = b;
  float* q = noise(static_cast<size_t>(rows) * kDim);
  float* scores = room<float>(kMaxAttentionRows * kSplitKeys);
  float *max = room<float>(kMaxAttentionRows), *sum = room<float>(kMaxAttentionRows);
  float* acc = room<float>(kMaxAttentionRows * kDim);
  const double keys = static_cast<double>(splits) * kSplitKeys;
  cases.push_back({name, cache.unit, 4.0 * rows * kDim * keys, static_cast<double>(bytes), [=, &k] {
                     for (int begin = 0; begin < rows; begin += kMaxAttentionRows) {
                       AttentionArgs a{};
                       a.kv = kv, a.block_table = table, a.q = q, a.q_token_stride = kDim, a.ratio = 1;
                       a.row_begin = begin, a.rows = std::min(kMaxAttentionRows, rows - begin);
                       a.first_position = splits * kSplitKeys, a.split_begin = 0, a.split_end = splits;
                       a.scale = 0.125F, a.scores = scores, a.max = max, a.sum = sum, a.acc = acc;
                       k.attention(a);
                     }
                   }});
}

#define SIXTEEN(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
constexpr int kPasses = 100'000;

// Sixteen independent chains in registers; `clobbers` are those of SIXTEEN.
#define PEAK(INSTRUCTION)                                                                                         \
  [] {                                                                                                            \
    for (int i = 0; i < kPasses; ++i)                                                                             \
      asm volatile(SIXTEEN(INSTRUCTION)::                                                                         \
                       : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
                         "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");                                            \
  }

void add_limits(std::vector<Case>& cases) {
#ifdef __AVX512VNNI__
#define DOT(i) "vpdpbusd %%zmm30, %%zmm30, %%zmm" #i "\n"
  cases.push_back({"limit int8", "", 16.0 * 128 * kPasses, 0, PEAK(DOT)});
#endif
#ifdef __AVX512BF16__
#define BF16(i) "vdpbf16ps %%zmm30, %%zmm30, %%zmm" #i "\n"
  cases.push_back({"limit bf16", "", 16.0 * 64 * kPasses, 0, PEAK(BF16)});
#endif
#ifdef __AVX512F__
#define FMA(i) "vfmadd231ps %%zmm30, %%zmm30, %%zmm" #i "\n"
  cases.push_back({"limit f32", "", 16.0 * 32 * kPasses, 0, PEAK(FMA)});
#elif defined(__FMA__)
#define FMA(i) "vfmadd231ps %%ymm15, %%ymm15, %%ymm" #i "\n"
  cases.push_back({"limit f32", "", 16.0 * 16 * kPasses, 0, PEAK(FMA)});
#endif
  constexpr size_t kWords = size_t{96} << 17;  // 96 MiB
  auto* words = room<uint64_t>(kWords);
  cases.push_back({"limit read", "", 0, 8.0 * kWords, [=] {
                     uint64_t a = 0, b = 0, c = 0, d = 0;
                     for (size_t i = 0; i < kWords; i += 32) {
                       __builtin_prefetch(words + i + 4096, 0, 2);
                       __builtin_prefetch(words + i + 256);
                       for (size_t j = 0; j < 32; j += 4)
                         a ^= words[i + j], b ^= words[i + j + 1], c ^= words[i + j + 2], d ^= words[i + j + 3];
                     }
                     asm volatile("" ::"r"(a ^ b ^ c ^ d));
                   }});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
  auto* open = reinterpret_cast<const KernelTable* (*)()>(dlsym(library, "wayra_kernels"));
  if (!open || open()->abi_version != kAbiVersion) return fprintf(stderr, "no kernel library of this version\n"), 1;
  const KernelTable& k = *open();
  std::vector<Case> cases;
  add_limits(cases);
  const std::pair<Format, const char*> formats[] = {
      {Format::kQ4_0, "Q4_0"}, {Format::kQ4_1, "Q4_1"}, {Format::kQ5_0, "Q5_0"}, {Format::kQ5_1, "Q5_1"},
      {Format::kQ8_0, "Q8_0"}, {Format::kI8, "I8"},     {Format::kQ2_K, "Q2_K"}, {Format::kQ3_K, "Q3_K"},
      {Format::kQ4_K, "Q4_K"}, {Format::kQ5_K, "Q5_K"}, {Format::kQ6_K, "Q6_K"}, {Format::kF16, "F16"},
      {Format::kBF16, "BF16"}};
  for (const auto& [format, name] : formats)
    for (int rows : {1, 8, 64, 512}) add_linear(cases, k, format, name, rows);
  for (const Cache cache : {Cache{KvType::kInt8, "int8", "int8"}, Cache{KvType::kInt16, "int16", "bf16"},
                            Cache{KvType::kBF16, "bf16", "bf16"}, Cache{KvType::kF16, "f16", "f32"}}) {
    const std::string name = std::string("attention, ") + cache.name;
    add_attention(cases, k, cache, name + " cache, 64 queries, 2,048 keys", 64, 8);
    add_attention(cases, k, cache, name + " cache, 3 queries, 131,072 keys", 3, 512);
  }
  add_elementwise(cases, k);
  const int repeats = std::max(1, atoi(argv[2]));
  for (int repeat = 0; repeat < repeats; ++repeat)
    for (Case& c : cases) {
      const double began = cpu_s();
      c.run();
      c.best_s = std::min(c.best_s, cpu_s() - began);
    }
  for (const Case& c : cases)
    printf("{\"name\": \"%s\", \"unit\": \"%s\", \"ops\": %.0f, \"bytes\": %.0f, \"seconds\": %.9f}\n", c.name.c_str(),
           c.unit.c_str(), c.ops, c.bytes, c.best_s);
}
