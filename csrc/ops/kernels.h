// The functions every instruction set's library defines, one file an operation; ops/table.cpp lists them.
#pragma once
#include "core/abi.h"

namespace wayra {
void linear(const LinearArgs&);
void linear_int8(const LinearArgs&);
void linear_w8a8(const LinearArgs&);
void linear_words(const LinearArgs&);
void linear_float(const LinearArgs&);
void quantise(const ActRows& x, int64_t row, const float* src, int32_t group_begin, int32_t group_end);
void quantise_tile(const ActRows& x, int64_t row, const float* src, int64_t src_stride, int32_t group_begin,
                   int32_t group_end);
void add_rms_norm(float* x, const float* delta, const float* weight, float eps, int32_t n, float* h);
void embed(const PackedMatrix& m, int32_t row, float* out);
void rope_store(const RopeStoreArgs&);
void attention(const AttentionArgs&);
void merge_splits(int32_t rows, float* max, float* sum, float* acc, const float* split_max, const float* split_sum,
                  const float* split_acc, int32_t padded_dim);
void scale_row(const float* acc, float factor, int32_t n, float* out);
void swiglu(const float* gate, const float* up, int32_t n, float* out);
void sample(SampleArgs&);
int64_t spin(Peak peak, int64_t rounds);
void read(const uint8_t* data, int64_t bytes);
}  // namespace wayra
