// The kernel table of this library.
#include "ops/kernels.h"
#include "ops/simd.h"

extern "C" __attribute__((visibility("default"))) const wayra::KernelTable* wayra_kernels() {
  static const wayra::KernelTable table{
      wayra::kAbiVersion,  simd::kName,   wayra::linear,     wayra::quantise,  wayra::quantise_tile,
      wayra::add_rms_norm, wayra::embed,  wayra::rope_store, wayra::attention, wayra::merge_splits,
      wayra::scale_row,    wayra::swiglu, wayra::sample,     wayra::spin,      wayra::read,
  };
  return &table;
}
