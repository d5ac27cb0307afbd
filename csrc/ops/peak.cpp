// What a core allows at most: products on registers alone, and reading.
#include "ops/kernels.h"
#include "ops/tiles.h"

namespace wayra {
namespace {
// As many independent chains as hide the latency of a product.
constexpr int kChains = simd::kAccumulators;
constexpr int kRepeat = 32;

// Runs product(accumulator) kRepeat times on every chain, `rounds` times over.
template <class Acc, class Product>
int64_t spin_chains(int64_t rounds, Acc start, Product product) {
  Acc acc[kChains];
  for (Acc& a : acc) a = start;
  for (int64_t i = 0; i < rounds; ++i) {
    for (int j = 0; j < kRepeat; ++j) {
#pragma GCC unroll 16
      for (int c = 0; c < kChains; ++c) acc[c] = product(acc[c]);
    }
    // Without a reader the products would be left out.
    for (int c = 0; c < kChains; ++c) asm volatile("" : "+m"(acc[c]));
  }
  return rounds * kRepeat * kChains;
}
}  // namespace

int64_t spin(Peak peak, int64_t rounds) {
  alignas(64) uint8_t bytes[64] = {};
  float half = 0.5f;
  asm volatile("" : "+m"(bytes), "+m"(half));  // unknown to the compiler
  const B b = simd::load_bytes(bytes);
  switch (peak) {
    case Peak::kInt8: {
      const int8_t four[4] = {1, 1, 1, 1};
      return 8 * kLanes * spin_chains(rounds, simd::zeroi(), [&](I a) { return simd::dot(a, b, four); });
    }
    case Peak::kBF16:
      return 4 * kLanes * spin_chains(rounds, simd::zero(), [&](F a) { return simd::dot_bf16(a, b, 0x3f803f80u); });
    case Peak::kF32: {
      const F f = simd::set1(half);
      return 2 * kLanes * spin_chains(rounds, simd::zero(), [&](F a) { return simd::fma(a, f, f); });
    }
  }
  return 0;
}

void read(const uint8_t* data, int64_t bytes) {
  constexpr int kStreams = 4;
  B found[kStreams];
  for (B& f : found) f = simd::load_bytes(data);
  for (int64_t at = 0; at + 64 * kStreams <= bytes; at += 64 * kStreams) {
    prefetch(data + at, 64 * kStreams);
#pragma GCC unroll 4
    for (int s = 0; s < kStreams; ++s) found[s] = simd::or_bytes(found[s], simd::load_bytes(data + at + 64 * s));
  }
  for (B& f : found) asm volatile("" : "+m"(f));
}
}  // namespace wayra
