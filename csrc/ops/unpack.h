// How each packed format turns a group of 32 k x 16 rows into eight registers of unsigned codes and its scales.
// A weight is d * (code - offset) or d * code + m; `scales` gives d and m of a group (of both halves where a scale
// governs 16 k only). Layout: core/formats.h.
#pragma once
#include "ops/simd.h"

namespace wayra {
using simd::B;
using simd::F;
using simd::I;

struct Scales {
  F d;
  F m;          // formats with a minimum
  I half[2];    // formats with a scale a half group
  F m_half[2];  // Q2_K
};

inline void unpack_nibbles(const uint8_t* p, B w[8]) {
  for (int i = 0; i < 4; ++i) {
    const B x = simd::load_bytes(p + 64 * i);
    w[i] = simd::and_bytes(x, 0x0f);
    w[i + 4] = simd::and_bytes(simd::shift_right<4>(x), 0x0f);
  }
}

inline void unpack_pairs(const uint8_t* p, B w[8]) {
  for (int i = 0; i < 2; ++i) {
    const B x = simd::load_bytes(p + 64 * i);
    w[4 * i] = simd::and_bytes(x, 3);
    w[4 * i + 1] = simd::and_bytes(simd::shift_right<2>(x), 3);
    w[4 * i + 2] = simd::and_bytes(simd::shift_right<4>(x), 3);
    w[4 * i + 3] = simd::and_bytes(simd::shift_right<6>(x), 3);
  }
}

// Adds bit q of the plane to quad q, at bit position `To`.
template <int To, int Q>
inline B plane_bit(B plane) {
  constexpr int shift = Q - To;
  if constexpr (shift > 0) {
    return simd::and_bytes(simd::shift_right<shift>(plane), 1 << To);
  } else if constexpr (shift < 0) {
    return simd::and_bytes(simd::shift_left<-shift>(plane), 1 << To);
  } else {
    return simd::and_bytes(plane, 1 << To);
  }
}
template <int To>
inline void add_bits(const uint8_t* p, B w[8]) {
  const B x = simd::load_bytes(p);
  w[0] = simd::or_bytes(w[0], plane_bit<To, 0>(x));
  w[1] = simd::or_bytes(w[1], plane_bit<To, 1>(x));
  w[2] = simd::or_bytes(w[2], plane_bit<To, 2>(x));
  w[3] = simd::or_bytes(w[3], plane_bit<To, 3>(x));
  w[4] = simd::or_bytes(w[4], plane_bit<To, 4>(x));
  w[5] = simd::or_bytes(w[5], plane_bit<To, 5>(x));
  w[6] = simd::or_bytes(w[6], plane_bit<To, 6>(x));
  w[7] = simd::or_bytes(w[7], plane_bit<To, 7>(x));
}

inline F halves(const uint8_t* p) { return simd::load_f16(reinterpret_cast<const uint16_t*>(p)); }

// Shared shape of a format: what its kernel has to do besides the dot products.
template <int CodeBytes, int OffsetShift, bool HasMin, bool HalfScales, bool Wide = false>
struct Layout {
  static constexpr int kCodeBytes = CodeBytes;
  static constexpr int kOffsetShift = OffsetShift;  // codes are offset by 1 << OffsetShift; -1 for none
  static constexpr bool kHasMin = HasMin;
  static constexpr bool kHalfScales = HalfScales;
  static constexpr bool kWide = Wide;  // codes use all eight bits
};

template <Format>
struct Packed;

template <>
struct Packed<Format::kQ4_0> : Layout<256, 3, false, false> {
  static void codes(const uint8_t* p, B w[8]) { unpack_nibbles(p, w); }
  static void scales(const uint8_t* p, int g, Scales& s) { s.d = halves(p + 32 * g); }
};
template <>
struct Packed<Format::kQ4_1> : Layout<256, -1, true, false> {
  static void codes(const uint8_t* p, B w[8]) { unpack_nibbles(p, w); }
  static void scales(const uint8_t* p, int g, Scales& s) {
    s.d = halves(p + 64 * g);
    s.m = halves(p + 64 * g + 32);
  }
};
template <>
struct Packed<Format::kQ5_0> : Layout<320, 4, false, false> {
  static void codes(const uint8_t* p, B w[8]) {
    unpack_nibbles(p, w);
    add_bits<4>(p + 256, w);
  }
  static void scales(const uint8_t* p, int g, Scales& s) { s.d = halves(p + 32 * g); }
};
template <>
struct Packed<Format::kQ5_1> : Layout<320, -1, true, false> {
  static void codes(const uint8_t* p, B w[8]) { Packed<Format::kQ5_0>::codes(p, w); }
  static void scales(const uint8_t* p, int g, Scales& s) { Packed<Format::kQ4_1>::scales(p, g, s); }
};
template <>
struct Packed<Format::kQ8_0> : Layout<512, 7, false, false, true> {
  static void codes(const uint8_t* p, B w[8]) {
    for (int i = 0; i < 8; ++i) w[i] = simd::load_bytes(p + 64 * i);
  }
  static void scales(const uint8_t* p, int g, Scales& s) { s.d = halves(p + 32 * g); }
};
template <>
struct Packed<Format::kQ4_K> : Layout<256, -1, true, false> {
  static void codes(const uint8_t* p, B w[8]) { unpack_nibbles(p, w); }
  static void scales(const uint8_t* p, int g, Scales& s) {
    const uint8_t* super = p + g / 8 * (64 + 8 * 32);
    const uint8_t* at = super + 64 + g % 8 * 32;
    s.d = simd::mul(halves(super), simd::to_float(simd::load_u8(at)));
    s.m = simd::mul(simd::sub(simd::zero(), halves(super + 32)), simd::to_float(simd::load_u8(at + 16)));
  }
};
template <>
struct Packed<Format::kQ5_K> : Layout<320, -1, true, false> {
  static void codes(const uint8_t* p, B w[8]) { Packed<Format::kQ5_0>::codes(p, w); }
  static void scales(const uint8_t* p, int g, Scales& s) { Packed<Format::kQ4_K>::scales(p, g, s); }
};
template <>
struct Packed<Format::kQ6_K> : Layout<384, 5, false, true> {
  static void codes(const uint8_t* p, B w[8]) {
    unpack_nibbles(p, w);
    for (int i = 0; i < 2; ++i) {
      const B x = simd::load_bytes(p + 256 + 64 * i);
      w[4 * i] = simd::or_bytes(w[4 * i], simd::and_bytes(simd::shift_left<4>(x), 0x30));
      w[4 * i + 1] = simd::or_bytes(w[4 * i + 1], simd::and_bytes(simd::shift_left<2>(x), 0x30));
      w[4 * i + 2] = simd::or_bytes(w[4 * i + 2], simd::and_bytes(x, 0x30));
      w[4 * i + 3] = simd::or_bytes(w[4 * i + 3], simd::and_bytes(simd::shift_right<2>(x), 0x30));
    }
  }
  static void scales(const uint8_t* p, int g, Scales& s) {
    const uint8_t* super = p + g / 8 * (32 + 8 * 32);
    const uint8_t* at = super + 32 + g % 8 * 32;
    s.d = halves(super);
    s.half[0] = simd::load_s8(reinterpret_cast<const int8_t*>(at));
    s.half[1] = simd::load_s8(reinterpret_cast<const int8_t*>(at) + 16);
  }
};
template <>
struct Packed<Format::kQ3_K> : Layout<192, 2, false, true> {
  static void codes(const uint8_t* p, B w[8]) {
    unpack_pairs(p, w);
    add_bits<2>(p + 128, w);
  }
  static void scales(const uint8_t* p, int g, Scales& s) { Packed<Format::kQ6_K>::scales(p, g, s); }
};
template <>
struct Packed<Format::kQ2_K> : Layout<128, -1, false, true> {
  static void codes(const uint8_t* p, B w[8]) { unpack_pairs(p, w); }
  static void scales(const uint8_t* p, int g, Scales& s) {
    const uint8_t* super = p + g / 8 * (64 + 8 * 32);
    const uint8_t* at = super + 64 + g % 8 * 32;
    const F min = simd::sub(simd::zero(), halves(super + 32));
    s.d = halves(super);
    for (int h = 0; h < 2; ++h) {
      uint8_t low[16], high[16];
      for (int i = 0; i < 16; ++i) {
        low[i] = at[16 * h + i] & 15;
        high[i] = at[16 * h + i] >> 4;
      }
      s.half[h] = simd::load_u8(low);
      s.m_half[h] = simd::mul(min, simd::to_float(simd::load_u8(high)));
    }
  }
};

// Calls f with a value of type Packed<F> for a quantised format.
template <class Fn>
inline void with_format(Format format, Fn&& f) {
  switch (format) {
    case Format::kQ4_0: return f(Packed<Format::kQ4_0>{});
    case Format::kQ4_1: return f(Packed<Format::kQ4_1>{});
    case Format::kQ5_0: return f(Packed<Format::kQ5_0>{});
    case Format::kQ5_1: return f(Packed<Format::kQ5_1>{});
    case Format::kQ8_0: return f(Packed<Format::kQ8_0>{});
    case Format::kQ2_K: return f(Packed<Format::kQ2_K>{});
    case Format::kQ3_K: return f(Packed<Format::kQ3_K>{});
    case Format::kQ4_K: return f(Packed<Format::kQ4_K>{});
    case Format::kQ5_K: return f(Packed<Format::kQ5_K>{});
    case Format::kQ6_K: return f(Packed<Format::kQ6_K>{});
    default: return;
  }
}
}  // namespace wayra
