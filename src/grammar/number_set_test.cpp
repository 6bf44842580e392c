#include "grammar/number_set.h"

#include <gtest/gtest.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>

namespace tetrad::grammar {
namespace {

std::optional<NumberBound> bound_of(const json::object& one, std::string_view name) {
  const json::value& value = one.at(name);
  if (value.is_null()) return std::nullopt;
  return NumberBound{value, one.at(fmt::format("exclusive_{}", name)).as_bool()};
}

TEST(NumberSet, AgreesWithPythonsDecimals) {
  std::ifstream file(std::string(TETRAD_SOURCE_DIR) + "/tests/grammar/number_cases.json");
  std::stringstream content;
  content << file.rdbuf();
  const auto cases = parse_json(content.str());
  ASSERT_TRUE(cases) << cases.error().message;
  size_t allowed = 0;
  for (const json::value& value : cases->as_array()) {
    const json::object& one = value.as_object();
    NumberSet set{.integer = one.at("integer").as_bool(),
                  .min = bound_of(one, "min"),
                  .max = bound_of(one, "max")};
    const json::value& multiple = one.at("multiple_of");
    if (!multiple.is_null()) set.multiple_of = multiple;
    const auto automaton = number_texts(set, {.max_states = 200'000});
    ASSERT_TRUE(automaton) << automaton.error().message;
    const json::array& texts = one.at("texts").as_array();
    const std::string_view truth = one.at("allowed").as_string();
    ASSERT_EQ(texts.size(), truth.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::string_view text = texts[i].as_string();
      EXPECT_EQ(automaton->contains(text), truth[i] == '1')
          << text << " integer " << set.integer << " min " << one.at("min")
          << one.at("exclusive_min") << " max " << one.at("max") << one.at("exclusive_max")
          << " multiple of " << multiple;
      allowed += truth[i] == '1';
    }
  }
  EXPECT_GT(allowed, 1'000U);
}

TEST(NumberSet, EveryDoubleHasAText) {
  const auto numbers = number_texts({}, {});
  ASSERT_TRUE(numbers) << numbers.error().message;
  std::mt19937_64 random(1);
  const auto check = [&](double value) {
    std::array<char, 64> buffer;
    const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                            std::chars_format::scientific);
    EXPECT_TRUE(numbers->contains({buffer.data(), end})) << std::string_view(buffer.data(), end);
  };
  for (const double value :
       {1.0, -1.0, 5e-324, -5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 1e308, 1.5e308,
        1.79e308, 2.2250738585072014e-308, 9.9e307, 0.1}) {
    check(value);
  }
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t bits = random();
    double value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    if (std::isfinite(value)) check(value);
  }
  EXPECT_TRUE(numbers->contains("0"));
  EXPECT_TRUE(numbers->contains("-0"));
  EXPECT_TRUE(numbers->contains("1e+21"));
  EXPECT_TRUE(numbers->contains("1E-07"));
  EXPECT_TRUE(numbers->contains("3.141592653589793"));
}

TEST(NumberSet, NothingBeyondADouble) {
  const auto numbers = number_texts({}, {});
  ASSERT_TRUE(numbers);
  for (const std::string_view text :
       {"1.8e308", "1.7976931348623158e308", "2e308", "-9e308", "1e309", "1e999", "1e0308", "01",
        "1.", ".1", "1e", "1e+", "+1", "--1", "-", "", "1.0.0", "NaN", "Infinity"}) {
    EXPECT_FALSE(numbers->contains(text)) << text;
  }
  EXPECT_FALSE(numbers->contains(std::string(41, '1')));
}

TEST(NumberSet, Integers) {
  const auto integers = number_texts({.integer = true}, {});
  ASSERT_TRUE(integers);
  for (const std::string_view text : {"0", "7", "-7", "10", "18446744073709551616"})
    EXPECT_TRUE(integers->contains(text)) << text;
  for (const std::string_view text : {"-0", "00", "1.0", "1e3", "", "-", "0.0"})
    EXPECT_FALSE(integers->contains(text)) << text;
}

TEST(NumberSet, EmptySets) {
  const auto is_empty = [](NumberSet set) {
    const auto texts = number_texts(set, {});
    EXPECT_TRUE(texts) << texts.error().message;
    return texts && texts->empty();
  };
  EXPECT_TRUE(is_empty({.min = NumberBound{2}, .max = NumberBound{1}}));
  EXPECT_TRUE(is_empty({.integer = true, .min = NumberBound{1.2}, .max = NumberBound{1.8}}));
  EXPECT_TRUE(is_empty({.min = NumberBound{1}, .max = NumberBound{1, true}}));
  EXPECT_TRUE(is_empty({.integer = true, .min = NumberBound{1e300}}));
  EXPECT_TRUE(is_empty({.min = NumberBound{1.7976931348623157e308, true}}));
  EXPECT_TRUE(is_empty(
      {.integer = true, .min = NumberBound{11}, .max = NumberBound{19}, .multiple_of = 10}));
  EXPECT_FALSE(is_empty({.min = NumberBound{1}, .max = NumberBound{1}}));
}

TEST(NumberSet, RefusesWhatItCannotKeepTrackOf) {
  const auto complaint = [](NumberSet set) {
    const auto texts = number_texts(set, {});
    if (texts) return std::string("(accepted)");
    EXPECT_EQ(texts.error().code, ErrorCode::invalid_argument);
    return texts.error().message;
  };
  EXPECT_NE(complaint({.multiple_of = 0}).find("above 0"), std::string::npos);
  EXPECT_NE(complaint({.multiple_of = -2}).find("above 0"), std::string::npos);
  EXPECT_NE(complaint({.multiple_of = 1e6}).find("too many digits"), std::string::npos);
  EXPECT_NE(complaint({.multiple_of = 1e-30}).find("too many digits"), std::string::npos);
  EXPECT_NE(complaint({.multiple_of = 3.14159265}).find("too many digits"), std::string::npos);
  EXPECT_NE(complaint({.multiple_of = "2"}).find("must be a number"), std::string::npos);
  EXPECT_NE(complaint({.min = NumberBound{nullptr}}).find("must be a number"), std::string::npos);
}

/// What schemas ask for has to fit within the usual limits.
TEST(NumberSet, UsualSetsAreSmall) {
  for (const NumberSet& set : std::vector<NumberSet>{
           {.integer = true, .min = NumberBound{0}},
           {.integer = true, .min = NumberBound{1}, .max = NumberBound{65535}},
           {.min = NumberBound{-90}, .max = NumberBound{90}},
           {.min = NumberBound{0, true}, .multiple_of = 0.01},
           {.integer = true, .multiple_of = 1000},
           {.integer = true, .multiple_of = 9973},
           {.integer = true, .multiple_of = 10'000},
           {.min = NumberBound{0}, .multiple_of = 0.0001},
           {.integer = true, .min = NumberBound{0}, .max = NumberBound{100000}, .multiple_of = 997},
           {.integer = true, .min = NumberBound{0}, .multiple_of = 360}}) {
    const auto texts = number_texts(set, {});
    EXPECT_TRUE(texts) << texts.error().message;
    EXPECT_TRUE(texts && !texts->empty());
  }
}

}  // namespace
}  // namespace tetrad::grammar
