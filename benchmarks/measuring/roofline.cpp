// What this machine can do at most, measured the way the kernels would have to do it: reading a buffer of the model's
// size with all threads, and integer dot products of bytes that never leave the registers.
// Usage: roofline BYTES THREADS; prints one JSON line. Built on the spot with -O3 -march=native.
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace {

// Many short runs: on a shared machine some of them meet no one.
constexpr int kRepeats = 150;
constexpr size_t kHugePage = 2 << 20;
typedef uint64_t Lanes __attribute__((vector_size(64)));

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds from a common start until the last of the threads is done.
double together(int threads, const std::function<void(int)>& work) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t) {
    all.emplace_back([&, t] {
      ++ready;
      while (!go.load(std::memory_order_acquire)) {
      }
      work(t);
    });
  }
  while (ready.load() < threads) std::this_thread::yield();
  const double start = now_s();
  go.store(true, std::memory_order_release);
  for (auto& thread : all) thread.join();
  return now_s() - start;
}

std::atomic<uint64_t> sink{0};

void read_all(const char* at, size_t bytes) {
  const auto* p = reinterpret_cast<const Lanes*>(at);
  Lanes a{}, b{}, c{}, d{};
  for (size_t i = 0; i + 4 <= bytes / sizeof(Lanes); i += 4) {
    __builtin_prefetch(p + i + 32);
    __builtin_prefetch(p + i + 33);
    __builtin_prefetch(p + i + 34);
    __builtin_prefetch(p + i + 35);
    a ^= p[i];
    b ^= p[i + 1];
    c ^= p[i + 2];
    d ^= p[i + 3];
  }
  a ^= b ^ c ^ d;
  sink += a[0] ^ a[1] ^ a[2] ^ a[3] ^ a[4] ^ a[5] ^ a[6] ^ a[7];
}

// Multiply-adds of bytes, counted as two operations each, of one pass of the loop below.
#if defined(__AVX512VNNI__)
constexpr const char* kInstruction = "vpdpbusd zmm";
constexpr double kOpsAPass = 16 * 64 * 2;
#define DOT(i) asm volatile("vpdpbusd %1, %1, %0" : "+v"(r##i) : "v"(bytes));
#define DECLARE(i) __m512i r##i = _mm512_setzero_si512();
#define ADD(i) bytes = _mm512_add_epi32(bytes, r##i);
#define INPUT __m512i bytes = _mm512_set1_epi8(1);
#define OUTPUT sink += static_cast<uint64_t>(_mm_cvtsi128_si32(_mm512_castsi512_si128(bytes)));
#elif defined(__AVX2__)
constexpr const char* kInstruction = "vpmaddubsw + vpmaddwd + vpaddd ymm";
constexpr double kOpsAPass = 16 * 32 * 2;
#define DOT(i)                                                       \
  {                                                                  \
    __m256i t;                                                       \
    asm volatile("vpmaddubsw %1, %1, %0" : "=x"(t) : "x"(bytes));    \
    asm volatile("vpmaddwd %1, %0, %0" : "+x"(t) : "x"(bytes));      \
    asm volatile("vpaddd %1, %0, %0" : "+x"(r##i) : "x"(t));         \
  }
#define DECLARE(i) __m256i r##i = _mm256_setzero_si256();
#define ADD(i) bytes = _mm256_add_epi32(bytes, r##i);
#define INPUT __m256i bytes = _mm256_set1_epi8(1);
#define OUTPUT sink += static_cast<uint64_t>(_mm256_extract_epi32(bytes, 0));
#else
constexpr const char* kInstruction = "";
constexpr double kOpsAPass = 0;
#define DOT(i)
#define DECLARE(i)
#define ADD(i)
#define INPUT
#define OUTPUT
#endif

#define SIXTEEN(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

void dot_bytes(long passes) {
  INPUT SIXTEEN(DECLARE) for (long n = 0; n < passes; ++n) { SIXTEEN(DOT) }
  SIXTEEN(ADD) OUTPUT
}

// The rate that one run in ten exceeds: others slow most runs down, and a few meet a cache that happens to be warm.
double upper_decile(std::vector<double> rates) {
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() * 9 / 10];
}

double read_gb_s(size_t bytes, int threads) {
  const size_t share = bytes / threads / sizeof(Lanes) * sizeof(Lanes);
  const size_t room = share * threads + 2 * kHugePage;
  void* mapped = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return 0;
  char* buffer = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(mapped) + kHugePage - 1) & ~(kHugePage - 1));
  madvise(buffer, room - kHugePage, MADV_HUGEPAGE);
  memset(buffer, 1, share * threads);
  std::vector<double> rates;
  for (int i = 0; i < kRepeats; ++i) {
    const double s = together(threads, [&](int t) { read_all(buffer + share * t, share); });
    rates.push_back(static_cast<double>(share) * threads / s / 1e9);
  }
  munmap(mapped, room);
  return upper_decile(rates);
}

double int8_gop_s(int threads) {
  if (kOpsAPass == 0) return 0;
  const long passes = 300'000;
  std::vector<double> rates;
  for (int i = 0; i < kRepeats; ++i) {
    const double s = together(threads, [&](int) { dot_bytes(passes); });
    rates.push_back(kOpsAPass * passes * threads / s / 1e9);
  }
  return upper_decile(rates);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const size_t bytes = std::strtoull(argv[1], nullptr, 10);
  const int threads = std::max(1, std::atoi(argv[2]));
  std::printf("{\"read_gb_s\": %.2f, \"int8_gop_s\": %.1f, \"int8_instruction\": \"%s\"}\n", read_gb_s(bytes, threads),
              int8_gop_s(threads), kInstruction);
}
