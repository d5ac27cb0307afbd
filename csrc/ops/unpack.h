// How each packed format turns a group of 32 k x 16 rows into eight registers of unsigned codes and its scales.
// A weight is d * (code - offset) or d * code + m; `scales` gives d and m of a group (of both halves where a scale
// governs 16 k only). Layout: core/formats.h.
#pragma once
#include <utility>

#include "ops/simd.h"

namespace wayra {
using simd::B;
using simd::F;
using simd::I;

struct Scales {
  F d;
  F m;          // formats with a minimum
  F half[2];    // formats with a scale a half group
  F m_half[2];  // Q2_K
};

// The bits of `mask` that begin at bit From of each byte, moved to bit To.
template <int From, int To, int Mask>
inline B moved_bits(B x) {
  if constexpr (From > To) x = simd::shift_right<From - To>(x);
  if constexpr (From < To) x = simd::shift_left<To - From>(x);
  return simd::and_bytes(x, Mask << To);
}

// Quad Q (four consecutive k of every row) of a plane of nibbles, of which a register holds Q and Q + 4.
template <int Q>
inline B nibbles(const uint8_t* p) {
  const B x = simd::load_bytes(p + 64 * (Q % 4));
  if constexpr (Q < 4)
    return simd::and_bytes(x, 0x0f);
  else
    return simd::and_bytes(simd::shift_right<4>(x), 0x0f);
}

// Bits [0, 2) of quad Q of a plane of pairs of bits, moved to bits [To, To + 2).
template <int Q, int To>
inline B bit_pairs(const uint8_t* p) {
  return moved_bits<2 * (Q % 4), To, 3>(simd::load_bytes(p + 64 * (Q / 4)));
}

// Bit Q of a plane of bits, moved to bit To.
template <int Q, int To>
inline B plane_bit(const uint8_t* p) {
  return moved_bits<Q, To, 1>(simd::load_bytes(p));
}

inline F halves(const uint8_t* p) { return simd::load_f16(reinterpret_cast<const uint16_t*>(p)); }

// Shared shape of a format: what its kernel has to do besides the dot products.
template <int CodeBytes, int OffsetShift, bool HasMin, bool HalfScales, bool Wide = false, bool RowScale = false>
struct Layout {
  static constexpr int kCodeBytes = CodeBytes;
  // Whose codes or scales take so long to unpack that tiles of two panels want it done beforehand.
  static constexpr bool kUnpackFirst = HalfScales || CodeBytes == 320;
  static constexpr int kOffsetShift = OffsetShift;  // codes are offset by 1 << OffsetShift; -1 for none
  static constexpr bool kHasMin = HasMin;
  static constexpr bool kHalfScales = HalfScales;
  static constexpr bool kWide = Wide;          // codes use all eight bits
  static constexpr bool kRowScale = RowScale;  // one scale a row, float32
};

template <Format>
struct Packed;

template <>
struct Packed<Format::kQ4_0> : Layout<256, 3, false, false> {
  template <int Q>
  static B quad(const uint8_t* p) {
    return nibbles<Q>(p);
  }
  static void scales(const uint8_t* p, int g, Scales& s) { s.d = halves(p + 32 * g); }
};
template <>
struct Packed<Format::kQ4_1> : Layout<256, -1, true, false> {
  template <int Q>
  static B quad(const uint8_t* p) {
    return nibbles<Q>(p);
  }
  static void scales(const uint8_t* p, int g, Scales& s) {
    s.d = halves(p + 64 * g);
    s.m = halves(p + 64 * g + 32);
  }
};
template <>
struct Packed<Format::kQ5_0> : Layout<320, 4, false, false> {
  template <int Q>
  static B quad(const uint8_t* p) {
    return simd::or_bytes(nibbles<Q>(p), plane_bit<Q, 4>(p + 256));
  }
  static void scales(const uint8_t* p, int g, Scales& s) { s.d = halves(p + 32 * g); }
};
template <>
struct Packed<Format::kQ5_1> : Layout<320, -1, true, false> {
  template <int Q>
  static B quad(const uint8_t* p) {
    return Packed<Format::kQ5_0>::quad<Q>(p);
  }
  static void scales(const uint8_t* p, int g, Scales& s) { Packed<Format::kQ4_1>::scales(p, g, s); }
};
template <>
struct Packed<Format::kQ8_0> : Layout<512, 7, false, false, true> {
  template <int Q>
  static B quad(const uint8_t* p) {
    return simd::load_bytes(p + 64 * Q);
  }
  static void scales(const uint8_t* p, int g, Scales& s) { s.d = halves(p + 32 * g); }
};
template <>
struct Packed<Format::kI8> : Layout<512, 7, false, false, true, true> {
  template <int Q>
  static B quad(const uint8_t* p) {
    return simd::load_bytes(p + 64 * Q);
  }
  static void scales(const uint8_t* p, int, Scales& s) { s.d = simd::load(reinterpret_cast<const float*>(p)); }
};
template <>
struct Packed<Format::kQ4_K> : Layout<256, -1, true, false> {
  static constexpr bool kUnpackFirst = true;
  template <int Q>
  static B quad(const uint8_t* p) {
    return nibbles<Q>(p);
  }
  static void scales(const uint8_t* p, int g, Scales& s) {
    const uint8_t* super = p + g / 8 * (64 + 8 * 32);
    const uint8_t* at = super + 64 + g % 8 * 32;
    s.d = simd::mul(halves(super), simd::to_float(simd::load_u8(at)));
    s.m = simd::mul(simd::sub(simd::zero(), halves(super + 32)), simd::to_float(simd::load_u8(at + 16)));
  }
};
template <>
struct Packed<Format::kQ5_K> : Layout<320, -1, true, false> {
  template <int Q>
  static B quad(const uint8_t* p) {
    return Packed<Format::kQ5_0>::quad<Q>(p);
  }
  static void scales(const uint8_t* p, int g, Scales& s) { Packed<Format::kQ4_K>::scales(p, g, s); }
};
template <>
struct Packed<Format::kQ6_K> : Layout<384, 5, false, true> {
  template <int Q>
  static B quad(const uint8_t* p) {
    return simd::or_bytes(nibbles<Q>(p), bit_pairs<Q, 4>(p + 256));
  }
  static void scales(const uint8_t* p, int g, Scales& s) {
    const uint8_t* super = p + g / 8 * (32 + 8 * 32);
    const uint8_t* at = super + 32 + g % 8 * 32;
    s.d = halves(super);
    s.half[0] = simd::mul(s.d, simd::to_float(simd::load_s8(reinterpret_cast<const int8_t*>(at))));
    s.half[1] = simd::mul(s.d, simd::to_float(simd::load_s8(reinterpret_cast<const int8_t*>(at) + 16)));
  }
};
template <>
struct Packed<Format::kQ3_K> : Layout<192, 2, false, true> {
  template <int Q>
  static B quad(const uint8_t* p) {
    return simd::or_bytes(bit_pairs<Q, 0>(p), plane_bit<Q, 2>(p + 128));
  }
  static void scales(const uint8_t* p, int g, Scales& s) { Packed<Format::kQ6_K>::scales(p, g, s); }
};
template <>
struct Packed<Format::kQ2_K> : Layout<128, -1, false, true> {
  template <int Q>
  static B quad(const uint8_t* p) {
    return bit_pairs<Q, 0>(p);
  }
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
      s.half[h] = simd::mul(s.d, simd::to_float(simd::load_u8(low)));
      s.m_half[h] = simd::mul(min, simd::to_float(simd::load_u8(high)));
    }
  }
};

// All quads of the group at p.
template <class P>
inline void unpack(const uint8_t* p, B w[8]) {
  [&]<int... Q>(std::integer_sequence<int, Q...>)
      __attribute__((always_inline)) { ((w[Q] = P::template quad<Q>(p)), ...); }(std::make_integer_sequence<int, 8>{});
}

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
    case Format::kI8: return f(Packed<Format::kI8>{});
    default: return;
  }
}
}  // namespace wayra
