// The table of packed formats and the sizes that follow from it.
#include "core/formats.h"

namespace wayra {
namespace {
constexpr FormatInfo kFloat32{Input::kF32, false, 1, 4, 64, 0, 0};
constexpr FormatInfo kFloat16{Input::kWords, false, 1, 2, 1024, 0, 32};
constexpr FormatInfo kBFloat16{Input::kBF16, false, 1, 2, 1024, 0, 0};
constexpr FormatInfo kInfoQ4_0{Input::kInt8, false, 32, 18, 256, 0, 32};
constexpr FormatInfo kInfoQ4_1{Input::kInt8, false, 32, 20, 256, 0, 64};
constexpr FormatInfo kInfoQ5_0{Input::kInt8, false, 32, 22, 320, 0, 32};
constexpr FormatInfo kInfoQ5_1{Input::kInt8, false, 32, 24, 320, 0, 64};
constexpr FormatInfo kInfoQ8_0{Input::kInt8, false, 32, 34, 512, 0, 32};
constexpr FormatInfo kInfoQ2_K{Input::kInt8, true, 256, 84, 128, 64, 32};
constexpr FormatInfo kInfoQ3_K{Input::kInt8, true, 256, 110, 192, 32, 32};
constexpr FormatInfo kInfoQ4_K{Input::kInt8, true, 256, 144, 256, 64, 32};
constexpr FormatInfo kInfoQ5_K{Input::kInt8, true, 256, 176, 320, 64, 32};
constexpr FormatInfo kInfoQ6_K{Input::kInt8, true, 256, 210, 384, 32, 32};
constexpr FormatInfo kInfoI8{Input::kInt8, false, 32, 32, 512, 0, 0, 4};
}  // namespace

const FormatInfo* format_info(Format format) {
  switch (format) {
    case Format::kF32: return &kFloat32;
    case Format::kF16: return &kFloat16;
    case Format::kBF16: return &kBFloat16;
    case Format::kQ4_0: return &kInfoQ4_0;
    case Format::kQ4_1: return &kInfoQ4_1;
    case Format::kQ5_0: return &kInfoQ5_0;
    case Format::kQ5_1: return &kInfoQ5_1;
    case Format::kQ8_0: return &kInfoQ8_0;
    case Format::kQ2_K: return &kInfoQ2_K;
    case Format::kQ3_K: return &kInfoQ3_K;
    case Format::kQ4_K: return &kInfoQ4_K;
    case Format::kQ5_K: return &kInfoQ5_K;
    case Format::kQ6_K: return &kInfoQ6_K;
    case Format::kI8: return &kInfoI8;
  }
  return nullptr;
}

int64_t panel_code_bytes(const FormatInfo& info, int64_t cols) {
  const int64_t units = info.input == Input::kF32 ? cols : (cols + kGroup - 1) / kGroup;
  return (units * info.code_bytes + 63) / 64 * 64;
}

int64_t panel_bytes(const FormatInfo& info, int64_t cols) {
  const int64_t groups = (cols + kGroup - 1) / kGroup;
  const int64_t supers = info.super_blocks ? cols / 256 : 0;
  const int64_t scales = supers * info.super_bytes + groups * info.scale_bytes + kLanes * info.row_scale_bytes;
  return panel_code_bytes(info, cols) + (scales + 63) / 64 * 64;
}

int64_t packed_bytes(Format format, int64_t rows, int64_t cols) {
  return (rows + kLanes - 1) / kLanes * panel_bytes(*format_info(format), cols);
}

}  // namespace wayra
