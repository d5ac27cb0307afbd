// Products of integers with one scale a row with int8 activations.
#include "ops/int8_tiles.h"
#include "ops/kernels.h"

namespace wayra {
void linear_w8a8(const LinearArgs& a) { multiply<Packed<Format::kI8>>(a); }
}  // namespace wayra
