// Products of weights with a scale for every group, or half of one, with int8 activations.
#include "ops/int8_tiles.h"
#include "ops/kernels.h"

namespace wayra {
void linear_int8(const LinearArgs& a) {
  with_format(a.weight->format, [&](auto p) {
    using P = decltype(p);
    if constexpr (!P::kRowScale) multiply<P>(a);
  });
}
}  // namespace wayra
