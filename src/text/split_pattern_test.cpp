#include "text/split_pattern.h"

#include <gtest/gtest.h>

#include <string>

namespace tetrad {
namespace {

using Pieces = std::vector<std::string_view>;

Pieces split(std::string_view expression, std::string_view text) {
  const auto pattern = SplitPattern::compile(expression);
  EXPECT_TRUE(pattern.has_value());
  Pieces pieces;
  EXPECT_TRUE(pattern->split(text, pieces).has_value());
  return pieces;
}

TEST(SplitPattern, RefusesAnExpressionThatIsNotOnTheList) {
  for (const char* expression : {"", "(a+)+$", R"(\s+)", R"( 's|'t|'re|'ve|'m|'ll|'d)"}) {
    const auto pattern = SplitPattern::compile(expression);
    ASSERT_FALSE(pattern.has_value()) << expression;
    EXPECT_EQ(pattern.error().code, ErrorCode::unsupported);
  }
}

TEST(SplitPattern, CutsAsGpt2Does) {
  EXPECT_EQ(split(SplitPattern::gpt2_expression(), "I'll pay  $20\n\n now"),
            (Pieces{"I", "'ll", " pay", " ", " $", "20", "\n\n", " now"}));
}

// PCRE2's own \s has the Mongolian vowel separator among the spaces; Unicode no longer does.
TEST(SplitPattern, WhiteSpaceIsUnicodes) {
  EXPECT_EQ(split(SplitPattern::gpt2_expression(), "a\u180E\u180E!"),
            (Pieces{"a", "\u180E\u180E!"}));
  EXPECT_EQ(split(SplitPattern::gpt2_expression(), "a\u2003\u0085!"),
            (Pieces{"a", "\u2003", "\u0085", "!"}));
}

// Runs that make a careless expression or a careless matcher backtrack: each stays linear.
TEST(SplitPattern, LongRunsWithoutABreak) {
  const std::string spaces(2'000'000, ' ');
  std::string lines;
  for (int i = 0; i < 500'000; ++i)
    lines += " \n";
  for (const std::string& text : {spaces + "x", lines + " x", std::string(2'000'000, 'a'),
                                  std::string(2'000'000, 'A'), std::string(2'000'000, '=')}) {
    Pieces pieces = split(SplitPattern::gpt2_expression(), text);
    std::string joined;
    for (const std::string_view piece : pieces)
      joined += piece;
    EXPECT_EQ(joined, text);
    EXPECT_LE(pieces.size(), 3U);
  }
}

}  // namespace
}  // namespace tetrad
