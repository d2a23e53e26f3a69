// Blocks of packed quantised weights, taken apart (formats.h). Part of kernels.cpp: compiled for each instruction set.
#pragma once

#include "integer_simd.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

/// How many minima a block has: of 32 columns, or of 16 columns each.
constexpr int minima_of(Format format) {
  switch (format) {
    case Format::Q4_1:
    case Format::Q5_1:
    case Format::Q4_K:
    case Format::Q5_K: return 1;
    case Format::Q2_K: return 2;
    default: return 0;
  }
}

/// What a format's numbers mean.
template <Format FORMAT>
struct Meaning {
  static constexpr bool SUPER = block_layout(FORMAT).columns == 256;  // eight blocks of 32 columns share d
  static constexpr bool SIGNED = FORMAT == Format::Q8_0 || FORMAT == Format::IQ4_NL;
  /// What is to be taken off a code.
  static constexpr int OFFSET = FORMAT == Format::Q4_0   ? 8
                                : FORMAT == Format::Q5_0 ? 16
                                : FORMAT == Format::Q6_K ? 32
                                : FORMAT == Format::Q3_K ? 4
                                                         : 0;
  /// 16 columns have a scale of their own, an integer that belongs to the exact sum.
  static constexpr bool HALVES = FORMAT == Format::Q6_K || FORMAT == Format::Q3_K || FORMAT == Format::Q2_K;
  static constexpr bool MINIMA = minima_of(FORMAT) > 0;

  static constexpr int64_t HEAD_BYTES = MINIMA ? 64 : 32;            // d, m
  static constexpr int64_t SCALE_BYTES = SUPER ? 2 * ROW_GROUP : 0;  // before the codes of 32 columns
  static constexpr int64_t BLOCK_BYTES = (block_layout(FORMAT).packed_bytes - HEAD_BYTES) / (SUPER ? 8 : 1);
};

/// What is known when the code is compiled, as an argument.
template <class Type, Type VALUE>
struct Constant {
  static constexpr Type value = VALUE;
};
template <int N>
using Index = Constant<int, N>;

/// Calls `work` with 0 to COUNT - 1, known when the code is compiled.
template <int COUNT, class Work>
INLINE void repeat(Work work) {
  if constexpr (COUNT > 1) repeat<COUNT - 1>(work);
  work(Index<COUNT - 1>());
}

/// Calls `work` with the format as a template's argument.
template <class Work>
inline void for_quantized_format(Format format, Work work) {
  switch (format) {
    case Format::Q8_0: return work(Constant<Format, Format::Q8_0>());
    case Format::Q4_0: return work(Constant<Format, Format::Q4_0>());
    case Format::Q4_1: return work(Constant<Format, Format::Q4_1>());
    case Format::Q5_0: return work(Constant<Format, Format::Q5_0>());
    case Format::Q5_1: return work(Constant<Format, Format::Q5_1>());
    case Format::IQ4_NL: return work(Constant<Format, Format::IQ4_NL>());
    case Format::Q2_K: return work(Constant<Format, Format::Q2_K>());
    case Format::Q3_K: return work(Constant<Format, Format::Q3_K>());
    case Format::Q4_K: return work(Constant<Format, Format::Q4_K>());
    case Format::Q5_K: return work(Constant<Format, Format::Q5_K>());
    case Format::Q6_K: return work(Constant<Format, Format::Q6_K>());
    default: return;  // floats
  }
}

constexpr int64_t VECTOR_BYTES = 4 * ROW_GROUP;  // of one word of all rows
constexpr int64_t PREFETCH_BYTES = 2048;         // between the weights in use and those called for

template <Format FORMAT>
constexpr bool FOUR_BITS = FORMAT == Format::Q4_0 || FORMAT == Format::Q4_1 || FORMAT == Format::Q4_K;

/// Bits FROM, FROM + 1 and so on of every byte, moved to place TO, where `mask` has them.
template <int FROM, int TO>
inline Words move_bits(Words a, uint32_t mask) {
  if constexpr (FROM < TO) a = shift_left16<TO - FROM>(a);
  else if constexpr (FROM > TO) a = shift_right16<FROM - TO>(a);
  return a & set_words(int32_t(mask));
}

/// The codes of words J and J + 4 of a block, a byte each: unsigned with the format's offset still on, or signed.
/// `codes` is where the block's vectors begin, for the rows in question.
template <Format FORMAT, int J>
inline void byte_codes(const uint8_t* codes, Words* out) {
  static_assert(J >= 0 && J < 4);
  const auto vector = [&](int64_t i) { return load_words(codes + VECTOR_BYTES * i); };
  if constexpr (FORMAT == Format::Q8_0) {
    out[0] = vector(J), out[1] = vector(J + 4);
  } else if constexpr (FORMAT == Format::Q2_K || FORMAT == Format::Q3_K) {
    out[0] = move_bits<2 * J, 0>(vector(0), 0x03030303), out[1] = move_bits<2 * J, 0>(vector(1), 0x03030303);
    if constexpr (FORMAT == Format::Q3_K) {
      out[0] = out[0] | move_bits<J, 2>(vector(2), 0x04040404);
      out[1] = out[1] | move_bits<J + 4, 2>(vector(2), 0x04040404);
    }
  } else {
    out[0] = move_bits<0, 0>(vector(J), 0x0f0f0f0f), out[1] = move_bits<4, 0>(vector(J), 0x0f0f0f0f);
    if constexpr (FORMAT == Format::Q5_0 || FORMAT == Format::Q5_1 || FORMAT == Format::Q5_K) {
      out[0] = out[0] | move_bits<J, 4>(vector(4), 0x10101010);
      out[1] = out[1] | move_bits<J + 4, 4>(vector(4), 0x10101010);
    } else if constexpr (FORMAT == Format::Q6_K) {
      out[0] = out[0] | move_bits<2 * J, 4>(vector(4), 0x30303030);
      out[1] = out[1] | move_bits<2 * J, 4>(vector(5), 0x30303030);
    } else if constexpr (FORMAT == Format::IQ4_NL) {
      static constexpr int8_t TABLE[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
      out[0] = look_up(TABLE, out[0]), out[1] = look_up(TABLE, out[1]);
    }
  }
}

/// The same, to be taken apart as 16-bit pairs: columns 0 and 2, then 1 and 3, of word J, then of word J + 4.
template <Format FORMAT, int J>
struct PairCodes {
  Words bytes[2];  // of four bits both words in the first

  PairCodes() = default;
  explicit PairCodes(const uint8_t* codes) {
    if constexpr (FOUR_BITS<FORMAT>) bytes[0] = load_words(codes + VECTOR_BYTES * J);
    else byte_codes<FORMAT, J>(codes, bytes);
  }

  /// IN_PLACE, which four bits allow: the second 256 times and the third 16 times too large, which saves two shifts.
  template <int I, bool IN_PLACE = false>
  Words pair() const {
    if constexpr (FOUR_BITS<FORMAT>) {
      const Words mask = set_words(0x000f000f);
      if constexpr (I == 0) return bytes[0] & mask;
      if constexpr (I == 1) return IN_PLACE ? bytes[0] & set_words(0x0f000f00) : shift_right16<8>(bytes[0]) & mask;
      if constexpr (I == 2) return IN_PLACE ? bytes[0] & set_words(0x00f000f0) : shift_right16<4>(bytes[0]) & mask;
      return shift_right16<12>(bytes[0]);
    } else if constexpr (Meaning<FORMAT>::SIGNED) {
      return shift_right16_signed<8>(I % 2 ? bytes[I / 2] : shift_left16<8>(bytes[I / 2]));
    } else {
      return I % 2 ? shift_right16<8>(bytes[I / 2]) : bytes[I / 2] & set_words(0x00ff00ff);
    }
  }
};

/// What stands before the codes of 32 columns, for LANES rows.
template <Format FORMAT>
struct Scales {
  Floats scale;       // d, or d * scale
  Floats minimum[2];  // of 16 columns each where they differ, else the first
  Words factors[2];   // of 16 columns each, where they belong to the sum

  /// `head` is where d begins and `block` where the 32 columns do; `row` is the first of the rows.
  Scales(const uint8_t* head, const uint8_t* block, int64_t row) {
    using M = Meaning<FORMAT>;
    scale = load_halves(head + 2 * row);
    if constexpr (M::MINIMA) minimum[0] = load_halves(head + 2 * ROW_GROUP + 2 * row);
    const uint8_t *first = block + row, *second = block + ROW_GROUP + row;
    if constexpr (FORMAT == Format::Q4_K || FORMAT == Format::Q5_K) {
      scale = scale * to_floats(load_unsigned_bytes(first));
      minimum[0] = negative(minimum[0] * to_floats(load_unsigned_bytes(second)));
    } else if constexpr (FORMAT == Format::Q6_K || FORMAT == Format::Q3_K) {
      factors[0] = load_signed_bytes(first), factors[1] = load_signed_bytes(second);
    } else if constexpr (FORMAT == Format::Q2_K) {
      const Words both[2] = {load_unsigned_bytes(first), load_unsigned_bytes(second)};
      const Floats m = minimum[0];
      for (int half = 0; half < 2; ++half) {
        factors[half] = both[half] & set_words(15);
        minimum[half] = negative(m * to_floats(shift_right16<4>(both[half])));
      }
    }
  }
};

/// Calls `work(head, block, b)` for the blocks first <= b < last of a row group.
template <Format FORMAT, class Work>
INLINE void for_each_block(const uint8_t* group, int64_t first, int64_t last, Work work) {
  using M = Meaning<FORMAT>;
  constexpr int64_t PER_HEAD = M::SUPER ? 8 : 1, BYTES = block_layout(FORMAT).packed_bytes;
  const uint8_t* head = group + first / PER_HEAD * BYTES;
  for (int64_t b = first; b < last; head += BYTES) {
    const int64_t skipped = b % PER_HEAD, end = min(last, b - skipped + PER_HEAD);
    const uint8_t* block = head + M::HEAD_BYTES + skipped * M::BLOCK_BYTES;
    for (; b < end; ++b, block += M::BLOCK_BYTES) work(head, block, b);
  }
}

/// The weights themselves: `out` is [column of the block][16 rows]; (scale * code) + minimum, rounded apart.
template <Format FORMAT>
inline void dequantize_block(const uint8_t* head, const uint8_t* block, float* out) {
  using M = Meaning<FORMAT>;
  for (int64_t row = 0; row < ROW_GROUP; row += LANES) {
    const Scales<FORMAT> scales(head, block, row);
    const auto put = [&](int64_t column, Words code, int half) {
      if constexpr (M::OFFSET != 0) code = code - set_words(M::OFFSET);
      Floats value = to_floats(code);
      if constexpr (M::HALVES) value = (scales.scale * to_floats(scales.factors[half])) * value;
      else value = scales.scale * value;
      if constexpr (M::MINIMA) value = value + scales.minimum[minima_of(FORMAT) == 2 ? half : 0];
      store_floats(out + column * ROW_GROUP + row, value);
    };
    repeat<4>([&](auto word) {
      constexpr int J = decltype(word)::value;
      const PairCodes<FORMAT, J> codes(block + M::SCALE_BYTES + 4 * row);
      repeat<4>([&](auto index) {
        constexpr int I = decltype(index)::value;
        const int64_t column = 4 * (I < 2 ? J : J + 4) + I % 2;
        const Words pair = codes.template pair<I>();
        Sum first = zero_sum(), second = zero_sum();  // of one product each: the pair's numbers as 32 bits
        multiply_add(first, pair, set_words(1)), multiply_add(second, pair, set_words(1 << 16));
        put(column, total(first), I / 2), put(column + 2, total(second), I / 2);
      });
    });
  }
}

}  // namespace
}  // namespace NEXTWORD_ISA
}  // namespace nextword
