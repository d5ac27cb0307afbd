// The next token of one row of logits: bias, penalties, mask, then greedy or temperature, top-k, top-p, min-p.
// Definition: backends/numpy. Ties go to the lower id everywhere.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/kernels.h"
#include "ops/simd.h"

namespace wayra {
namespace {
using simd::F;

struct Candidate {
  float p;
  int32_t id;
};
// True when a is the more likely of two candidates.
bool ahead(const Candidate& a, const Candidate& b) { return a.p > b.p || (a.p == b.p && a.id < b.id); }

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();
constexpr int kSumChunk = 256;

float largest_of(const float* x, int n) {
  F m = simd::set1(kMinusInf);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) m = simd::max(simd::load(x + i), m);
  float best = simd::reduce_max(m);
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

// p[i] = e^((x[i] - max) * inverse_temperature); returns the sum, added chunk by chunk in double.
double exponentials(const float* x, int n, float max, float inverse_temperature, float* p) {
  const F m = simd::set1(max), f = simd::set1(inverse_temperature);
  double total = 0.0;
  for (int begin = 0; begin < n; begin += kSumChunk) {
    const int end = std::min(n, begin + kSumChunk);
    F sum = simd::zero();
    int i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      const F e = simd::exp(simd::mul(simd::sub(simd::load(x + i), m), f));
      simd::store(p + i, e);
      sum = simd::add(sum, e);
    }
    double tail = 0.0;
    for (; i < end; ++i) {
      alignas(64) float one[kLanes] = {(x[i] - max) * inverse_temperature};
      simd::store(one, simd::exp(simd::load(one)));
      p[i] = one[0];
      tail += one[0];
    }
    total += static_cast<double>(simd::reduce_add(sum)) + tail;
  }
  return total;
}

// The k most likely of x, best first. `out` has room for k.
int top_candidates(const float* x, int n, int k, Candidate* out) {
  int count = 0;
  float threshold = kMinusInf;
  const auto offer = [&](int id) {
    const Candidate c{x[id], id};
    if (count < k) {
      if (!(c.p > kMinusInf)) return;
      out[count++] = c;
      std::push_heap(out, out + count, ahead);
    } else if (c.p > out[0].p) {
      std::pop_heap(out, out + count, ahead);
      out[count - 1] = c;
      std::push_heap(out, out + count, ahead);
    }
    if (count == k) threshold = out[0].p;
  };
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    uint32_t mask = simd::greater(simd::load(x + i), simd::set1(threshold));
    for (; mask; mask &= mask - 1) offer(i + __builtin_ctz(mask));
  }
  for (; i < n; ++i) offer(i);
  std::sort(out, out + count, ahead);
  return count;
}

int32_t argmax(const float* x, int n) {
  const float best = largest_of(x, n);
  if (!(best > kMinusInf)) return -1;
  for (int i = 0; i < n; ++i) {
    if (x[i] == best) return i;
  }
  return -1;
}

void apply_history(SampleArgs& a) {
  for (int i = 0; i < a.history_len; ++i) {
    float& l = a.logits[a.history_ids[i]];
    const int count = a.history_counts[i];
    l = l > 0.0f ? l / a.repetition_penalty : l * a.repetition_penalty;
    if (count > 0) l -= a.frequency_penalty * static_cast<float>(count) + a.presence_penalty;
  }
}

void apply_mask(SampleArgs& a) {
  for (int i = 0; i < a.vocab; ++i) {
    if (!((a.allowed[i / 32] >> (i % 32)) & 1u)) a.logits[i] = kMinusInf;
  }
}

// Source: Steele et al. 2014 (splitmix64), fed by the draw's counter.
double uniform(uint64_t seed, uint64_t draw) {
  uint64_t z = (seed ^ (draw * 0xD1342543DE82EF95ull)) + 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

// Keeps the smallest most-likely-first prefix that reaches top_p of `total`. `c` is sorted, best first.
int keep_top_p(const Candidate* c, int count, float top_p, double total) {
  double reached = 0.0;
  for (int i = 0; i < count; ++i) {
    reached += c[i].p;
    if (reached >= static_cast<double>(top_p) * total) return i + 1;
  }
  return count;
}

// Candidates that certainly contain the top-p set: everything above a cutoff, lowered until their mass suffices.
int gather_for_top_p(const float* p, int n, float top_p, double total, Candidate* out) {
  for (float cutoff = 1e-3f;; cutoff = cutoff > 1e-12f ? cutoff * 1e-3f : -1.0f) {
    int count = 0;
    double mass = 0.0;
    for (int i = 0; i < n; ++i) {
      if (p[i] > cutoff) {
        out[count++] = {p[i], i};
        mass += p[i];
      }
    }
    if (mass >= static_cast<double>(top_p) * total || cutoff < 0.0f) return count;
  }
}

// Walks the candidates in id order to the first whose cumulative mass exceeds u * total.
int32_t pick(Candidate* c, int count, double u) {
  std::sort(c, c + count, [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  double total = 0.0;
  for (int i = 0; i < count; ++i) total += c[i].p;
  double reached = 0.0;
  for (int i = 0; i < count; ++i) {
    reached += c[i].p;
    if (reached > u * total) return c[i].id;
  }
  return count ? c[count - 1].id : -1;
}

int32_t pick_from_all(const float* p, int n, float floor, double u) {
  double total = 0.0;
  for (int i = 0; i < n; ++i) total += p[i] >= floor ? p[i] : 0.0f;
  double reached = 0.0;
  int32_t last = -1;
  for (int i = 0; i < n; ++i) {
    if (!(p[i] >= floor) || !(p[i] > 0.0f)) continue;
    reached += p[i];
    last = i;
    if (reached > u * total) return i;
  }
  return last;
}

int32_t draw_token(SampleArgs& a, float* p, Candidate* candidates) {
  const float max = largest_of(a.logits, a.vocab);
  if (!(max > kMinusInf)) return -1;
  // The reciprocal of a tiny temperature is no float, and infinity times the zero of the likeliest token no number.
  const float inverse = std::min(1.0f / a.temperature, std::numeric_limits<float>::max());
  const double all = exponentials(a.logits, a.vocab, max, inverse, p);
  if (a.allowed || a.bias_len) {
    for (int i = 0; i < a.vocab; ++i) p[i] = a.logits[i] > kMinusInf ? p[i] : 0.0f;
  }
  const double u = uniform(a.seed, a.draw);
  const bool limit_k = a.top_k > 0 && a.top_k < a.vocab;
  if (!limit_k && !(a.top_p < 1.0f)) return pick_from_all(p, a.vocab, a.min_p, u);  // the largest p is 1
  int count;
  double total = all;
  if (limit_k) {
    count = top_candidates(p, a.vocab, a.top_k, candidates);
    total = 0.0;
    for (int i = 0; i < count; ++i) total += candidates[i].p;
  } else {
    count = gather_for_top_p(p, a.vocab, a.top_p, total, candidates);
    std::sort(candidates, candidates + count, ahead);
  }
  if (a.top_p < 1.0f) count = keep_top_p(candidates, count, a.top_p, total);
  while (count > 1 && (candidates[count - 1].p < a.min_p || !(candidates[count - 1].p > 0.0f))) --count;
  return pick(candidates, count, u);
}
}  // namespace

void sample(SampleArgs& a) {
  auto* p = static_cast<float*>(a.scratch);
  float* raw = p + a.vocab;
  auto* candidates = reinterpret_cast<Candidate*>(raw + a.vocab);
  const float max = largest_of(a.logits, a.vocab);
  const double lse = static_cast<double>(max) + std::log(exponentials(a.logits, a.vocab, max, 1.0f, p));
  const auto logprob_of = [&](float logit) { return static_cast<float>(static_cast<double>(logit) - lse); };
  if (a.target >= 0) a.target_logprob = logprob_of(a.logits[a.target]);
  if (a.num_logprobs > 0) {
    const int count = top_candidates(a.logits, a.vocab, a.num_logprobs, candidates);
    for (int i = 0; i < a.num_logprobs; ++i) {
      a.top_ids[i] = i < count ? candidates[i].id : -1;
      a.top_logprobs[i] = i < count ? logprob_of(candidates[i].p) : kMinusInf;
    }
  }
  if (!a.sample) return;
  const bool altered = a.bias_len > 0 || a.history_len > 0 || a.allowed;
  if (altered) std::memcpy(raw, a.logits, static_cast<size_t>(a.vocab) * sizeof(float));
  for (int i = 0; i < a.bias_len; ++i) a.logits[a.bias_ids[i]] += a.bias_values[i];
  apply_history(a);
  if (a.allowed) apply_mask(a);
  a.token_id = a.temperature > 0.0f ? draw_token(a, p, candidates) : argmax(a.logits, a.vocab);
  a.logprob = a.token_id >= 0 ? logprob_of((altered ? raw : a.logits)[a.token_id]) : kMinusInf;
}
}  // namespace wayra
