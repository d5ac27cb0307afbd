// Geometry of the packed layout; `pack.cpp` writes it, `ops/unpack.h` reads it.
//
// A panel interleaves 16 rows. For quantised formats k runs in groups of 32, eight quads of four consecutive k. In a
// 64-byte plane, byte 4 * lane + j belongs to row `lane` and k = 4 * quad + j:
//   nibble plane  4 x 64 B  plane p: low nibble = quad p, high nibble = quad p + 4
//   pair plane    2 x 64 B  plane p: bits 2i, 2i+1 = quad 4p + i
//   bit plane     1 x 64 B  bit q = quad q
//   byte plane    8 x 64 B  plane q = quad q
// Sixteen-bit elements lie in pairs of consecutive k, a pair a lane: bfloat16 as they are; float16 as integers of at
// most kWordSteps with a bfloat16 scale [16] for a group, because a product of such words is twice as fast as one of
// floats. Groups of both are filled with zeros to 32. Scales follow all codes of the panel, a group after the other;
// the formats with super-blocks of 256 put the super-scales (float16 [16], then the minimum's where there is one)
// before the eight groups they govern. A row's one scale is a float32, [16] of them a panel.
#pragma once
#include "core/abi.h"

namespace wayra {

// The form of the activations that a product with a format takes.
enum class Input { kF32, kInt8, kWords, kBF16 };

struct FormatInfo {
  Input input;          // of a bfloat16 matrix f32 serves as well
  bool super_blocks;    // scales in super-blocks of 256
  int32_t block_len;    // of the file's layout
  int32_t block_bytes;  // of the file's layout
  int32_t code_bytes;   // packed, a group of 32 k x 16 rows (float32: one k x 16 rows)
  int32_t super_bytes;  // packed, super-scales of 256 k x 16 rows
  int32_t scale_bytes;  // packed, scales of a group
  // Of a row's one scale, or 0: it comes before the row in the raw matrix, and [16] of them first of a panel's scales.
  int32_t row_scale_bytes = 0;
};

// Null for an unknown format.
const FormatInfo* format_info(Format format);

// Bytes of a packed panel's codes, of its scales, and of the whole panel (a multiple of 64).
int64_t panel_code_bytes(const FormatInfo& info, int64_t cols);
int64_t panel_bytes(const FormatInfo& info, int64_t cols);
int64_t packed_bytes(Format format, int64_t rows, int64_t cols);

// Packs panels [panel_begin, panel_end) of a matrix stored in the file's layout. row_order (or null) maps a row of the
// matrix to its row in `raw`. Rows beyond the last are zero.
void pack_panels(Format format, int64_t rows, int64_t cols, const uint8_t* raw, const int32_t* row_order,
                 int64_t panel_begin, int64_t panel_end, uint8_t* out);

}  // namespace wayra
