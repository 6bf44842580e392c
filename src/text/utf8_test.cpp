#include "text/utf8.h"

#include <gtest/gtest.h>

namespace tetrad {
namespace {

std::string lossy(std::string_view bytes) {
  std::string text;
  append_lossy_utf8(bytes, text);
  return text;
}

TEST(Utf8, ValidTextHasNoInvalidByte) {
  EXPECT_EQ(find_invalid_utf8(""), std::nullopt);
  EXPECT_EQ(find_invalid_utf8(std::string_view("a\0b", 3)), std::nullopt);
  // The first and last character of each length, and the neighbours of the surrogates.
  EXPECT_EQ(find_invalid_utf8("\x7F\u0080\u07FF\u0800\uD7FF\uE000\uFFFF\U00010000\U0010FFFF"),
            std::nullopt);
}

TEST(Utf8, InvalidByteIsFoundAtTheStartOfItsCharacter) {
  EXPECT_EQ(find_invalid_utf8("ab\x80"), 2U);
  EXPECT_EQ(find_invalid_utf8("\u00E9\xC0\x80"), 2U);     // overlong
  EXPECT_EQ(find_invalid_utf8("a\xE0\x9F\xBF"), 1U);      // overlong
  EXPECT_EQ(find_invalid_utf8("a\xED\xA0\x80"), 1U);      // surrogate
  EXPECT_EQ(find_invalid_utf8("\xF0\x8F\xBF\xBF"), 0U);   // overlong
  EXPECT_EQ(find_invalid_utf8("x\xF4\x90\x80\x80"), 1U);  // beyond U+10FFFF
  EXPECT_EQ(find_invalid_utf8("xyz\xF0\x9F\x98"), 3U);    // cut off
}

// Expected: what Python's bytes.decode("utf-8", "replace") gives, which follows the same rule.
TEST(Utf8, EveryMaximalPartOfAnIllFormedSequenceBecomesOneReplacement) {
  EXPECT_EQ(lossy("\x80"), "\uFFFD");
  EXPECT_EQ(lossy("\xC0\x80"), "\uFFFD\uFFFD");
  EXPECT_EQ(lossy("\xE2\x82"), "\uFFFD");
  EXPECT_EQ(lossy("\xE2\x82"
                  "A"),
            "\uFFFD"
            "A");
  EXPECT_EQ(lossy("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(lossy("\xF0\x80\x80\x41"),
            "\uFFFD\uFFFD\uFFFD"
            "A");
  EXPECT_EQ(lossy("\xF0\x9F\x98"), "\uFFFD");
  EXPECT_EQ(lossy("\xF0\x9F\xF0\x9F\x98\x80"), "\uFFFD\U0001F600");
  EXPECT_EQ(lossy("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(lossy("\xF8\xFF"), "\uFFFD\uFFFD");
  EXPECT_EQ(lossy("\xF1\x80\xE1\x80\xC2"
                  "b\x80"
                  "c\x80\xBF"
                  "d"),
            "\uFFFD\uFFFD\uFFFD"
            "b\uFFFD"
            "c\uFFFD\uFFFD"
            "d");
}

TEST(Utf8, AnUnfinishedCharacterIsLeftToLaterBytes) {
  std::string text;
  EXPECT_EQ(append_complete_utf8("a\xF0\x9F\x98", text), 1U);
  EXPECT_EQ(text, "a");
  EXPECT_EQ(append_complete_utf8("\xF0\x9F\x98\x80\xE2", text), 4U);
  EXPECT_EQ(text, "a\U0001F600");
  // E0 80 can never become a character: nothing to wait for.
  EXPECT_EQ(append_complete_utf8("\xE0\x80", text), 2U);
  EXPECT_EQ(text, "a\U0001F600\uFFFD\uFFFD");
}

TEST(Utf8, WhiteSpaceAtEitherEnd) {
  EXPECT_EQ(leading_white_space(""), 0U);
  EXPECT_EQ(trailing_white_space(""), 0U);
  EXPECT_EQ(leading_white_space(" \t\r\n\u0085\u00A0\u3000x "), 4U + 2 + 2 + 3);
  EXPECT_EQ(trailing_white_space(" x\u2028 \u205F"), 3U + 1 + 3);
  EXPECT_EQ(leading_white_space("  "), 2U);
  EXPECT_EQ(trailing_white_space("\u3000\u3000"), 6U);
  // No white space: zero width space, byte order mark, Mongolian vowel separator.
  for (const char* other : {"\u200B", "\uFEFF", "\u180E", "\u00E9"}) {
    EXPECT_EQ(leading_white_space(other), 0U) << other;
    EXPECT_EQ(trailing_white_space(other), 0U) << other;
  }
}

}  // namespace
}  // namespace tetrad
