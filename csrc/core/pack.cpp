// Repacks matrices from the file's block layouts into interleaved panels (layout: formats.h). The block layouts are
// GGML's; the reference reading of each is weights/formats in Python, and a test holds the two together.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/formats.h"

namespace wayra {
namespace {

// One group of 32 weights of one row, as integers with their scales.
struct Group {
  uint8_t code[32];
  uint8_t scale_bytes[4];  // super-block formats: what the group stores for this row, one or two bytes a half
};

struct Halves {
  uint16_t d = 0, m = 0;
};

uint16_t read_u16(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, 2);
  return v;
}
uint32_t read_u32(const uint8_t* p) {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}

void nibbles(const uint8_t* q, uint8_t* code) {
  for (int i = 0; i < 16; ++i) {
    code[i] = q[i] & 15;
    code[i + 16] = q[i] >> 4;
  }
}

// The simple formats: blocks of 32 with float16 scale and minimum.
Halves read_block(Format f, const uint8_t* b, Group& g) {
  switch (f) {
    case Format::kQ4_0: nibbles(b + 2, g.code); return {read_u16(b), 0};
    case Format::kQ4_1: nibbles(b + 4, g.code); return {read_u16(b), read_u16(b + 2)};
    case Format::kQ5_0:
    case Format::kQ5_1: {
      const int at = f == Format::kQ5_0 ? 2 : 4;
      const uint32_t high = read_u32(b + at);
      nibbles(b + at + 4, g.code);
      for (int i = 0; i < 32; ++i) g.code[i] = static_cast<uint8_t>(g.code[i] | (((high >> i) & 1u) << 4));
      return {read_u16(b), f == Format::kQ5_0 ? uint16_t{0} : read_u16(b + 2)};
    }
    case Format::kI8:
      for (int i = 0; i < 32; ++i) g.code[i] = b[i] ^ 0x80;
      return {};
    default:  // Q8_0; both are packed with an offset of 128
      for (int i = 0; i < 32; ++i) g.code[i] = b[2 + i] ^ 0x80;
      return {read_u16(b), 0};
  }
}

// The eight 6-bit scales and minimums of Q4_K and Q5_K.
void scale_min_k4(int j, const uint8_t* s, uint8_t* sc, uint8_t* m) {
  if (j < 4) {
    *sc = s[j] & 63;
    *m = s[j + 4] & 63;
  } else {
    *sc = static_cast<uint8_t>((s[j + 4] & 15) | ((s[j - 4] >> 6) << 4));
    *m = static_cast<uint8_t>((s[j + 4] >> 4) | ((s[j] >> 6) << 4));
  }
}

int q3_scale(int j, const uint8_t* s) {
  const int low = j < 8 ? s[j] & 15 : s[j - 8] >> 4;
  const int high = (s[8 + j % 4] >> (2 * (j / 4))) & 3;
  return (low | (high << 4)) - 32;
}

// Group `index` (of eight) of a super-block of 256.
Halves read_super(Format f, const uint8_t* b, int index, Group& g) {
  switch (f) {
    case Format::kQ4_K:
    case Format::kQ5_K: {
      scale_min_k4(index, b + 4, &g.scale_bytes[0], &g.scale_bytes[1]);
      const bool five = f == Format::kQ5_K;
      const uint8_t* high = b + 16;
      const uint8_t* q = b + (five ? 48 : 16) + index / 2 * 32;
      const int shift = index % 2 * 4;
      for (int i = 0; i < 32; ++i) {
        const int h = five ? (high[i] >> index) & 1 : 0;
        g.code[i] = static_cast<uint8_t>(((q[i] >> shift) & 15) | (h << 4));
      }
      return {read_u16(b), read_u16(b + 2)};
    }
    case Format::kQ6_K: {
      const int half = index / 4, part = index % 4;
      const uint8_t* low = b + half * 64 + (part % 2) * 32;
      const uint8_t* high = b + 128 + half * 32;
      for (int i = 0; i < 32; ++i) {
        const int l = part < 2 ? low[i] & 15 : low[i] >> 4;
        g.code[i] = static_cast<uint8_t>(l | (((high[i] >> (2 * part)) & 3) << 4));
      }
      g.scale_bytes[0] = b[192 + half * 8 + part * 2];
      g.scale_bytes[1] = b[192 + half * 8 + part * 2 + 1];
      return {read_u16(b + 208), 0};
    }
    case Format::kQ3_K: {
      const int half = index / 4, part = index % 4;
      const uint8_t* low = b + 32 + half * 32;
      for (int i = 0; i < 32; ++i) {
        const int h = (b[i] >> index) & 1;
        g.code[i] = static_cast<uint8_t>(((low[i] >> (2 * part)) & 3) | (h << 2));
      }
      g.scale_bytes[0] = static_cast<uint8_t>(q3_scale(2 * index, b + 96));
      g.scale_bytes[1] = static_cast<uint8_t>(q3_scale(2 * index + 1, b + 96));
      return {read_u16(b + 108), 0};
    }
    default: {  // Q2_K
      const int half = index / 4, part = index % 4;
      const uint8_t* low = b + 16 + half * 32;
      for (int i = 0; i < 32; ++i) g.code[i] = (low[i] >> (2 * part)) & 3;
      g.scale_bytes[0] = b[2 * index];
      g.scale_bytes[1] = b[2 * index + 1];
      return {read_u16(b + 80), read_u16(b + 82)};
    }
  }
}

// Spreads the codes of one row's group over the planes.
void put_codes(Format f, const uint8_t* code, int lane, uint8_t* out) {
  for (int k = 0; k < kGroup; ++k) {
    const int quad = k / 4;
    const int at = 4 * lane + k % 4;
    const int c = code[k];
    const auto set = [&](int plane, int bits) {
      out[plane * 64 + at] = static_cast<uint8_t>(out[plane * 64 + at] | bits);
    };
    switch (f) {
      case Format::kI8:
      case Format::kQ8_0: set(quad, c); break;
      case Format::kQ2_K:
      case Format::kQ3_K:
        set(quad / 4, (c & 3) << (2 * (quad % 4)));
        if (f == Format::kQ3_K) set(2, (c >> 2) << quad);
        break;
      default:
        set(quad % 4, (c & 15) << (quad < 4 ? 0 : 4));
        if (f == Format::kQ6_K) {
          set(4 + quad / 4, (c >> 4) << (2 * (quad % 4)));
        } else if (f == Format::kQ5_0 || f == Format::kQ5_1 || f == Format::kQ5_K) {
          set(4, (c >> 4) << quad);
        }
    }
  }
}

void put_u16(uint8_t* out, int lane, uint16_t v) { std::memcpy(out + 2 * lane, &v, 2); }

void pack_row(Format f, const FormatInfo& info, int64_t cols, const uint8_t* row, int lane, uint8_t* codes,
              uint8_t* scales) {
  Group g{};
  std::memcpy(scales + lane * info.row_scale_bytes, row, static_cast<size_t>(info.row_scale_bytes));
  row += info.row_scale_bytes;
  for (int64_t i = 0; i < cols / kGroup; ++i) {
    if (info.super_blocks) {
      const int64_t super = i / 8;
      uint8_t* at = scales + super * (info.super_bytes + 8 * info.scale_bytes);
      const Halves h = read_super(f, row + super * info.block_bytes, static_cast<int>(i % 8), g);
      put_u16(at, lane, h.d);
      if (info.super_bytes == 64) put_u16(at + 32, lane, h.m);
      at += info.super_bytes + i % 8 * info.scale_bytes;
      at[lane] = g.scale_bytes[0];
      at[16 + lane] = g.scale_bytes[1];
    } else {
      const Halves h = read_block(f, row + i * info.block_bytes, g);
      uint8_t* at = scales + i * info.scale_bytes;
      if (info.scale_bytes > 0) put_u16(at, lane, h.d);
      if (info.scale_bytes == 64) put_u16(at + 32, lane, h.m);
    }
    put_codes(f, g.code, lane, codes + i * info.code_bytes);
  }
}

void pack_f32_row(int64_t cols, const uint8_t* row, int lane, uint8_t* codes) {
  for (int64_t k = 0; k < cols; ++k) std::memcpy(codes + (k * kLanes + lane) * 4, row + 4 * k, 4);
}

// Byte of element k of a lane among pairs.
int64_t in_pairs(int64_t k, int lane) { return (k / 2 * kLanes + lane) * 4 + k % 2 * 2; }

void pack_bf16_row(int64_t cols, const uint8_t* row, int lane, uint8_t* codes) {
  for (int64_t k = 0; k < cols; ++k) std::memcpy(codes + in_pairs(k, lane), row + 2 * k, 2);
}

float from_bits(uint32_t bits) {
  float v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

// Exponents are rebuilt by a product, which is exact for subnormal numbers too.
float from_f16(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  const uint32_t rest = static_cast<uint32_t>(h & 0x7fff) << 13;
  const float magnitude = (h & 0x7c00) == 0x7c00 ? from_bits(rest | 0x7f800000u) : from_bits(rest) * 0x1p112f;
  return sign ? -magnitude : magnitude;
}

// The smallest bfloat16 that is not below v, a positive float or infinity.
uint16_t bf16_not_below(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  return static_cast<uint16_t>((bits >> 16) + ((bits & 0xffff) ? 1 : 0));
}

// float16 as words: integers of at most kWordSteps and a scale for 32 of them. A group with an infinity or a
// not-a-number becomes not-a-numbers.
void pack_word_row(int64_t cols, const uint8_t* row, int lane, uint8_t* codes, uint8_t* scales) {
  for (int64_t first = 0; first < cols; first += kGroup) {
    const int64_t count = std::min<int64_t>(kGroup, cols - first);
    float v[kGroup];
    float largest = 0.0f;
    bool finite = true;
    for (int64_t i = 0; i < count; ++i) {
      v[i] = from_f16(read_u16(row + 2 * (first + i)));
      finite = finite && std::isfinite(v[i]);
      largest = std::max(largest, std::fabs(v[i]));
    }
    const uint16_t scale = finite ? bf16_not_below(largest / kWordSteps) : uint16_t{0x7fc0};
    put_u16(scales + first / kGroup * 2 * kLanes, lane, scale);
    if (!finite || largest == 0.0f) continue;
    const float d = from_bits(static_cast<uint32_t>(scale) << 16);
    for (int64_t i = 0; i < count; ++i) {
      const auto word = static_cast<int16_t>(std::nearbyint(v[i] / d));
      std::memcpy(codes + in_pairs(first + i, lane), &word, 2);
    }
  }
}
}  // namespace

void pack_panels(Format format, int64_t rows, int64_t cols, const uint8_t* raw, const int32_t* row_order,
                 int64_t panel_begin, int64_t panel_end, uint8_t* out) {
  const FormatInfo& info = *format_info(format);
  const int64_t row_bytes = info.row_scale_bytes + cols / info.block_len * info.block_bytes;
  const int64_t bytes = panel_bytes(info, cols);
  const int64_t code_bytes = panel_code_bytes(info, cols);
  for (int64_t p = panel_begin; p < panel_end; ++p) {
    uint8_t* panel = out + p * bytes;
    std::memset(panel, 0, static_cast<size_t>(bytes));
    for (int lane = 0; lane < kLanes && p * kLanes + lane < rows; ++lane) {
      const int64_t row = p * kLanes + lane;
      const uint8_t* src = raw + (row_order ? row_order[row] : row) * row_bytes;
      uint8_t* scales = panel + code_bytes;
      switch (info.input) {
        case Input::kF32: pack_f32_row(cols, src, lane, panel); break;
        case Input::kBF16: pack_bf16_row(cols, src, lane, panel); break;
        case Input::kWords: pack_word_row(cols, src, lane, panel, scales); break;
        case Input::kInt8: pack_row(format, info, cols, src, lane, panel, scales); break;
      }
    }
  }
}

}  // namespace wayra
