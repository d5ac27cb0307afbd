// Matrix times activations: which kernel multiplies which format.
#include "ops/kernels.h"

namespace wayra {
void linear(const LinearArgs& a) {
  switch (a.weight->format) {
    case Format::kF32:
    case Format::kBF16: return linear_float(a);
    case Format::kF16: return linear_words(a);
    case Format::kI8: return linear_w8a8(a);
    default: return linear_int8(a);
  }
}
}  // namespace wayra
