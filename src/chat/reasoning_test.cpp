#include "chat/reasoning.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tetrad {
namespace {

struct Split {
  std::string reasoning;
  std::string content;

  bool operator==(const Split&) const = default;
};

void PrintTo(const Split& split, std::ostream* out) {
  *out << "reasoning " << testing::PrintToString(split.reasoning) << ", content "
       << testing::PrintToString(split.content);
}

Split split_pieces(const std::vector<std::string_view>& pieces, bool starts_in_reasoning) {
  ReasoningSplitter splitter(starts_in_reasoning);
  Split all;
  const auto add = [&](const ReasoningSplitter::Delta& delta) {
    all.reasoning += delta.reasoning;
    all.content += delta.content;
  };
  for (const std::string_view piece : pieces)
    add(splitter.push(piece));
  add(splitter.finish());
  return all;
}

struct Case {
  std::string text;
  bool starts_in_reasoning;
  Split expected;
};

// What section 6 of the specification says about each text.
const std::vector<Case> kCases = {
    {"thought\n</think>\n\nanswer", true, {"thought", "answer"}},
    {"\n\nthought \t\n</think>answer\n", true, {"thought", "answer\n"}},
    {"never closed \n", true, {"never closed", ""}},
    {"", true, {"", ""}},
    {"</think>text", true, {"", "text"}},
    {"<think>\nthought</think>\ntext", true, {"thought", "text"}},
    {"\n<think>\n\nthought <think> more</think>text", true, {"thought  more", "text"}},
    {" \n indented\n  second line\n</think>a", true, {" \n indented\n  second line", "a"}},
    {"a</think>b</think>c", true, {"a", "bc"}},
    {"a</think>\n\n</think>\n\nc", true, {"a", "c"}},
    {"a</think>b</think>\n\nc", true, {"a", "b\n\nc"}},
    {"a</think>the tag <think> is text here", true, {"a", "the tag <think> is text here"}},
    {"a<b</think>c<d", true, {"a<b", "c<d"}},
    {"a </thin", true, {"a </thin", ""}},
    {"a\n<", true, {"a\n<", ""}},
    {"a</think>b</thi", true, {"a", "b</thi"}},
    {"a</think>\n<", true, {"a", "<"}},
    {"<<think></<</think>>", true, {"<</<", ">"}},
    {"<think", true, {"<think", ""}},
    {"\n continued", false, {"", "\n continued"}},
    {"all </think>content <think>", false, {"", "all content <think>"}},
    {"x</think>\n<minimax:tool_call>\n<invoke name=\"f\">\n</invoke>\n</minimax:tool_call>",
     true,
     {"x", "<minimax:tool_call>\n<invoke name=\"f\">\n</invoke>\n</minimax:tool_call>"}},
    {"forgot to close \n<minimax:tool_call>\n</minimax:tool_call>",
     true,
     {"forgot to close", "<minimax:tool_call>\n</minimax:tool_call>"}},
    {"a <minimax:tool</think>b", true, {"a <minimax:tool", "b"}},
    {"Gedanken über Größe …\n</think>\n\nGrüße", true, {"Gedanken über Größe …", "Grüße"}},
};

TEST(ReasoningSplitter, SplitsAsTheSpecificationSays) {
  for (const Case& c : kCases) {
    EXPECT_EQ(split_pieces({c.text}, c.starts_in_reasoning), c.expected) << c.text;
  }
}

TEST(ReasoningSplitter, ByteByByteIsTheSame) {
  for (const Case& c : kCases) {
    std::vector<std::string_view> bytes;
    for (size_t i = 0; i < c.text.size(); ++i) {
      bytes.push_back(std::string_view(c.text).substr(i, 1));
    }
    EXPECT_EQ(split_pieces(bytes, c.starts_in_reasoning), c.expected) << c.text;
  }
}

TEST(ReasoningSplitter, EveryCutInThreeIsTheSame) {
  for (const Case& c : kCases) {
    const std::string_view text = c.text;
    for (size_t i = 0; i <= text.size(); ++i) {
      for (size_t j = i; j <= text.size(); ++j) {
        EXPECT_EQ(split_pieces({text.substr(0, i), text.substr(i, j - i), text.substr(j)},
                               c.starts_in_reasoning),
                  c.expected)
            << c.text << " cut at " << i << " and " << j;
      }
    }
  }
}

// All 2^(n-1) ways to cut short texts made of the parts of tags.
TEST(ReasoningSplitter, EveryPossibleCutOfShortTextsIsTheSame) {
  for (const std::string text :
       {"\nx\n</think>\n", "<think>\na</t", "a<</think>b", "</think></thi", "\n \n</think>"}) {
    const Split expected = split_pieces({text}, true);
    for (unsigned cuts = 0; cuts < 1U << (text.size() - 1); ++cuts) {
      std::vector<std::string_view> pieces;
      size_t start = 0;
      for (size_t end = 1; end <= text.size(); ++end) {
        if (end < text.size() && (cuts >> (end - 1) & 1U) == 0) continue;
        pieces.push_back(std::string_view(text).substr(start, end - start));
        start = end;
      }
      ASSERT_EQ(split_pieces(pieces, true), expected) << text << " cut as " << cuts;
    }
  }
}

TEST(ReasoningSplitter, ReleasesTextAsSoonAsItIsCertain) {
  ReasoningSplitter splitter(true);
  EXPECT_EQ(splitter.push("Let me ").reasoning, "Let me");
  EXPECT_EQ(splitter.push("see </th").reasoning, " see");
  EXPECT_TRUE(splitter.in_reasoning());
  const auto turned = splitter.push("ink>\n\nYes");
  EXPECT_EQ(turned.reasoning, "");
  EXPECT_EQ(turned.content, "Yes");
  EXPECT_FALSE(splitter.in_reasoning());
  EXPECT_EQ(splitter.push(" indeed ").content, " indeed ");
}

}  // namespace
}  // namespace tetrad
