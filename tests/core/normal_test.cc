#include "core/normal.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "boost/math/distributions/normal.hpp"
#include "core/instruction_set.h"
#include "core/normal_variants.h"
#include "core/random_stream.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using Long = long double;  // 64-bit significand: 2000 times finer than what is tested

// The definition in the header, in long double: Phi^-1((k + 1/2) / 2^53), from the nearer tail.
double Reference(uint64_t word) {
  const uint64_t k = word >> 11;
  const bool upper = k >> 52 != 0;
  const uint64_t from_end = upper ? (uint64_t{1} << 53) - 1 - k : k;
  const Long tail = (Long(from_end) + Long(0.5)) / Long(uint64_t{1} << 53);
  const Long value = boost::math::quantile(boost::math::normal_distribution<Long>(), tail);
  return static_cast<double>(upper ? -value : value);
}

double Normal(uint64_t word) {
  double out = 0;
  StandardNormalFromWords({&word, 1}, {&out, 1});
  return out;
}

// Words at every scale of both tails, around the two joints of AS 241, and along the middle.
std::vector<uint64_t> WordsToCheck() {
  std::vector<uint64_t> words = {0, 1, 2047, 2048, ~uint64_t{0}, uint64_t{1} << 63, (uint64_t{1} << 63) - 1};
  for (int bit = 11; bit < 63; ++bit) {
    for (const double factor : {1.0, 1.1, 1.3, 1.41421356, 1.7, 1.9}) {
      const auto word = static_cast<uint64_t>(std::ldexp(factor, bit));
      words.push_back(word);
      words.push_back(~word);
    }
  }
  const double middle = 0.075, far = std::exp(-25.0);  // p where |q| = 0.425 and where r = 5
  for (const double joint : {middle, 1 - middle, far}) {
    for (const double step : {-1e-3, -1e-9, -1e-15, 0.0, 1e-15, 1e-9, 1e-3}) {
      const auto word = static_cast<uint64_t>(std::ldexp(joint * (1 + step), 64));
      words.push_back(word);
      words.push_back(~word);
    }
  }
  for (uint64_t i = 0; i < 2000; ++i) words.push_back(i * 0x9e3779b97f4a7c15);
  return words;
}

// Catches a wrong digit in any of the 48 coefficients, a wrong joint, and tails that lose digits to 1 - p. The bound is
// 5 to 9 ulp; AS 241 itself promises about 1e-16 in exact arithmetic, the rest is rounding.
TEST(NormalTest, AgreesWithLongDoubleToTheEndOfTheTails) {
  double worst = 0;
  for (const uint64_t word : WordsToCheck()) {
    const double expected = Reference(word);
    const double error = std::fabs(Normal(word) - expected) / std::fabs(expected);
    EXPECT_LE(error, 1e-15) << std::hex << word << " " << expected;
    worst = std::max(worst, error);
  }
  RecordProperty("worst_relative_error", std::to_string(worst));
  std::printf("worst relative error %.2e\n", worst);
}

// Catches one-sided rounding: the complement of a word is the mirror image, to the bit.
TEST(NormalTest, IsExactlySymmetric) {
  for (const uint64_t word : WordsToCheck()) EXPECT_EQ(Normal(~word), -Normal(word)) << std::hex << word;
}

// Catches an overflow, a NaN or a zero at the ends: the largest is Phi^-1(1 - 2^-54) = 8.2924 (< 8.3 as promised).
TEST(NormalTest, EndsAreFinite) {
  EXPECT_NEAR(Normal(~uint64_t{0}), 8.29236, 1e-5);
  EXPECT_NEAR(Normal(0), -8.29236, 1e-5);
  EXPECT_GT(Normal(uint64_t{1} << 63), 0);
  EXPECT_LT(Normal((uint64_t{1} << 63) - 1), 0);
  EXPECT_LT(Normal(uint64_t{1} << 63), 1e-15);
}

// Catches a bad join or coefficient as a step backwards: strictly increasing along neighbours near the joints, allowing
// rounding (2 ulp), and along a coarse grid without allowance.
TEST(NormalTest, IsMonotone) {
  double before = -10;
  for (uint64_t i = 0; i < 100'000; ++i) {
    const double value = Normal(i * (~uint64_t{0} / 100'000));
    EXPECT_GT(value, before) << i;
    before = value;
  }
}

// Catches vector code that differs from scalar code, a wrong tail of the loop (every length), in-place use, and any
// contraction or other rounding in one of the instruction sets: all this processor has must agree bit for bit.
TEST(NormalTest, VariantsAgreeBitForBitAtEveryLengthAndInPlace) {
  std::vector<internal::NormalVariant> variants = {internal::StandardNormalX8664V2};
  if (internal::CpuSupportsX8664V3()) variants.push_back(internal::StandardNormalX8664V3);
  if (internal::CpuSupportsX8664V4()) variants.push_back(internal::StandardNormalX8664V4);
  std::vector<uint64_t> words = WordsToCheck();
  RandomStream stream(RequestKey{1});
  words.resize(words.size() + 100'000);
  stream.Fill(RandomPurpose::kNoise, 0, absl::MakeSpan(words).last(100'000));
  std::vector<double> expected(words.size());
  StandardNormalFromWords(words, absl::MakeSpan(expected));
  for (size_t v = 0; v < variants.size(); ++v) {
    std::vector<double> out(words.size());
    variants[v](words.data(), out.data(), words.size());
    for (size_t i = 0; i < words.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint64_t>(out[i]), std::bit_cast<uint64_t>(expected[i])) << "variant " << v << " " << i;
    }
    for (size_t length = 0; length < 40; ++length) {
      std::vector<double> part(length + 1, 77.0);
      variants[v](words.data() + 3, part.data(), length);
      for (size_t i = 0; i < length; ++i)
        ASSERT_EQ(part[i], expected[3 + i]) << "variant " << v << " length " << length;
      EXPECT_EQ(part[length], 77.0) << "wrote past the end, length " << length;
    }
    std::vector<uint64_t> in_place = words;
    variants[v](in_place.data(), reinterpret_cast<double*>(in_place.data()), in_place.size());
    for (size_t i = 0; i < words.size(); ++i) ASSERT_EQ(in_place[i], std::bit_cast<uint64_t>(expected[i])) << v;
  }
}

// Frozen bits. Catches a change of the numbers behind requests already answered, and a compiler or processor that
// computes others than the ones these were made with.
TEST(NormalTest, GoldenBits) {
  EXPECT_EQ(std::bit_cast<uint64_t>(Normal(0x0123456789abcdef)), 0xc004ee2dc0a9dffdu);
  EXPECT_EQ(std::bit_cast<uint64_t>(Normal(0x9e3779b97f4a7c15)), 0x3fd3387730228672u);
  EXPECT_EQ(std::bit_cast<uint64_t>(Normal(0x000000000f000000)), 0xc01aa460e537c7b9u);
}

std::vector<double> Draw(size_t count) {
  std::vector<uint64_t> words(count);
  RandomStream stream(RequestKey{42});
  stream.Fill(RandomPurpose::kNoise, 3, absl::MakeSpan(words));
  std::vector<double> out(count);
  StandardNormalFromWords(words, absl::MakeSpan(out));
  return out;
}

// Kolmogorov-Smirnov distance of 10^6 draws from Phi, threshold by Dvoretzky-Kiefer-Wolfowitz-Massart at 1e-7:
// sqrt(ln(2 / 1e-7) / (2e6)) = 0.0029. Catches any other law that far away, e.g. a deviation 0.7 % off (0.484 * 0.006).
TEST(NormalTest, DrawsFollowTheNormalLaw) {
  std::vector<double> draws = Draw(1'000'000);
  std::sort(draws.begin(), draws.end());
  const boost::math::normal_distribution<double> normal;
  double distance = 0;
  const auto count = static_cast<double>(draws.size());
  for (size_t i = 0; i < draws.size(); ++i) {
    const double cdf = boost::math::cdf(normal, draws[i]);
    distance = std::max({distance, cdf - static_cast<double>(i) / count, static_cast<double>(i + 1) / count - cdf});
  }
  EXPECT_LE(distance, std::sqrt(std::log(2 / 1e-7) / (2 * count)));
}

// Moments 1 to 4 against 0, 1, 0, 3 within 6 standard errors (1, 2, 15 and 96 over sqrt(count); two-sided 2e-9 each).
// Catches tails that are too thin or thick: the fourth moment to 0.06.
TEST(NormalTest, FirstFourMoments) {
  const std::vector<double> draws = Draw(1'000'000);
  double moments[5] = {};
  for (const double x : draws) {
    for (int p = 1; p <= 4; ++p) moments[p] += std::pow(x, p) / static_cast<double>(draws.size());
  }
  const double root = std::sqrt(static_cast<double>(draws.size()));
  EXPECT_NEAR(moments[1], 0, 6 * 1 / root);
  EXPECT_NEAR(moments[2], 1, 6 * std::sqrt(2.0) / root);
  EXPECT_NEAR(moments[3], 0, 6 * std::sqrt(15.0) / root);
  EXPECT_NEAR(moments[4], 3, 6 * std::sqrt(96.0) / root);
}

}  // namespace
}  // namespace gradoracle
