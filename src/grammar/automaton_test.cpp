#include "grammar/automaton.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <set>
#include <string>

#include "grammar/code_point_dfa.h"

namespace tetrad::grammar {
namespace {

constexpr AutomatonLimits kUsualLimits;

Automaton set_of(std::string_view pattern) {
  auto automaton = parse_regex(pattern, RegexMatch::whole, kUsualLimits);
  EXPECT_TRUE(automaton) << automaton.error().message;
  return automaton ? *automaton : Automaton::none();
}

TEST(Automaton, Simplest) {
  EXPECT_TRUE(Automaton::none().empty());
  EXPECT_FALSE(Automaton::none().contains(""));
  EXPECT_FALSE(Automaton::any().empty());
  EXPECT_TRUE(Automaton::any().contains(""));
  EXPECT_TRUE(Automaton::any().contains("a\0é\U0010FFFF\n"));
  EXPECT_FALSE(Automaton::any().contains("\xED\xA0\x80"));  // a surrogate
  EXPECT_FALSE(Automaton::any().contains("\xC3"));
  EXPECT_TRUE(Automaton::literal("é漢").contains("é漢"));
  EXPECT_FALSE(Automaton::literal("é漢").contains("é"));
  EXPECT_TRUE(Automaton::literal("").contains(""));
  EXPECT_FALSE(Automaton::literal("").contains("a"));
}

TEST(Automaton, LengthsCountCodePoints) {
  const auto two_to_three = Automaton::length(2, 3, kUsualLimits);
  ASSERT_TRUE(two_to_three);
  EXPECT_FALSE(two_to_three->contains("a"));
  EXPECT_TRUE(two_to_three->contains("é\U0001F600"));
  EXPECT_TRUE(two_to_three->contains("abc"));
  EXPECT_FALSE(two_to_three->contains("abcd"));
  const auto from_two = Automaton::length(2, std::nullopt, kUsualLimits);
  ASSERT_TRUE(from_two);
  EXPECT_FALSE(from_two->contains("a"));
  EXPECT_TRUE(from_two->contains(std::string(1000, 'a')));
  EXPECT_TRUE(Automaton::length(3, 2, kUsualLimits)->empty());
  EXPECT_TRUE(Automaton::length(0, 0, kUsualLimits)->contains(""));
  EXPECT_FALSE(Automaton::length(0, 0, kUsualLimits)->contains("a"));
  EXPECT_TRUE(Automaton::length(0, std::nullopt, kUsualLimits)->contains(""));
  const auto too_long = Automaton::length(0, INT64_MAX, kUsualLimits);
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().code, ErrorCode::invalid_argument);
}

/// Each combination of two sets holds what the sets say.
TEST(Automaton, Combinations) {
  const std::vector<Automaton> sets = {
      Automaton::none(),   Automaton::any(),   set_of("a*b?"),         set_of("[^a]{1,2}"),
      set_of("(ab|c|é)*"), set_of("a|ab|abc"), Automaton::literal(""), set_of(".*c")};
  const std::vector<std::string> texts = {"",   "a",  "b",  "c",  "é",    "ab", "aab", "abc",
                                          "ac", "bc", "éc", "cc", "abab", "x",  "xyz", "\n"};
  for (const Automaton& left : sets) {
    for (const Automaton& right : sets) {
      const auto both = left.intersect(right, kUsualLimits);
      const auto either = left.unite(right, kUsualLimits);
      const auto only_left = left.subtract(right, kUsualLimits);
      ASSERT_TRUE(both && either && only_left);
      for (const std::string& text : texts) {
        const bool l = left.contains(text);
        const bool r = right.contains(text);
        EXPECT_EQ(both->contains(text), l && r) << text;
        EXPECT_EQ(either->contains(text), l || r) << text;
        EXPECT_EQ(only_left->contains(text), l && !r) << text;
      }
      if (&left == &right) {
        EXPECT_TRUE(only_left->empty());
      }
      // Equal sets have equal automata, so what is united again does not grow.
      const auto again = either->unite(left, kUsualLimits);
      ASSERT_TRUE(again);
      EXPECT_EQ(again->impl().dfa.num_states(), either->impl().dfa.num_states());
      EXPECT_TRUE(either->subtract(*again, kUsualLimits)->empty());
      EXPECT_TRUE(again->subtract(*either, kUsualLimits)->empty());
    }
  }
}

TEST(Automaton, ProductsAreBounded) {
  const Automaton threes = set_of("(?:a{101})*");
  const auto product = threes.intersect(set_of("(?:a{103})*"), {.max_states = 10'000});
  ASSERT_FALSE(product);
  EXPECT_EQ(product.error().code, ErrorCode::invalid_argument);
  EXPECT_NE(product.error().message.find("more than 10000 states"), std::string::npos);
  EXPECT_TRUE(threes.intersect(set_of("(?:a{103})*"), {.max_states = 10'404}));
}

TEST(Automaton, AnyOfIsItsTexts) {
  const std::vector<std::string_view> texts = {"stop", "top", "tops", "stops",
                                               "",     "é",   "è",    "stop"};
  const Automaton automaton = Automaton::any_of(texts);
  for (const std::string_view text : texts)
    EXPECT_TRUE(automaton.contains(text)) << text;
  for (const std::string_view text : {"s", "to", "stopst", "topss", "e", "ê"})
    EXPECT_FALSE(automaton.contains(text)) << text;
  EXPECT_TRUE(Automaton::any_of({}).empty());
  // Shared ends: the same as what minimising a trie would leave.
  const std::vector<std::string_view> words = {"tap", "taps", "top", "tops"};
  EXPECT_EQ(Automaton::any_of(words).impl().dfa.num_states(), 5U);
  EXPECT_EQ(reduced(Automaton::any_of(words).impl().dfa).num_states(), 5U);
}

TEST(Automaton, AnyOfAgreesWithASet) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::set<std::string> texts;
    const auto word = [&] {
      std::string text;
      for (size_t length = random() % 6; length > 0; --length)
        text += std::string_view("abc")[random() % 3];
      return text;
    };
    for (size_t i = random() % 20; i > 0; --i)
      texts.insert(word());
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    const Automaton automaton = Automaton::any_of(views);
    EXPECT_EQ(reduced(automaton.impl().dfa).num_states(), automaton.impl().dfa.num_states());
    for (int i = 0; i < 50; ++i) {
      const std::string text = word();
      EXPECT_EQ(automaton.contains(text), texts.contains(text)) << text;
    }
  }
}

TEST(Automaton, AMegabyteOfTextsIsFast) {
  std::mt19937 random(5);
  std::vector<std::string> texts(10'000);
  for (std::string& text : texts)
    for (int i = 0; i < 100; ++i)
      text += static_cast<char>('a' + random() % 26);
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const auto start = std::chrono::steady_clock::now();
  const Automaton automaton = Automaton::any_of(views);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  EXPECT_TRUE(automaton.contains(texts[77]));
  EXPECT_LT(time.count(), 30);  // 0.2; by the square of the texts it would be many minutes
  RecordProperty("seconds", std::to_string(time.count()));
}

}  // namespace
}  // namespace tetrad::grammar
