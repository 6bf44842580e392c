#include "http/sse_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tetrad::http {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Events = std::vector<std::string>;

Events parse(std::string_view text) {
  SseParser parser;
  Events events;
  EXPECT_TRUE(parser.push(text, events));
  return events;
}

TEST(SseParser, ReadsDataUpToBlankLines) {
  EXPECT_THAT(parse("data: one\n\ndata: two\n\n"), ElementsAre("one", "two"));
}

TEST(SseParser, KnowsAllThreeLineEnds) {
  EXPECT_THAT(parse("data: a\r\n\r\ndata: b\r\rdata: c\n\n"), ElementsAre("a", "b", "c"));
}

TEST(SseParser, JoinsTheDataLinesOfAnEvent) {
  EXPECT_THAT(parse("data: first\ndata:\ndata: third\n\n"), ElementsAre("first\n\nthird"));
}

TEST(SseParser, TakesOneBlankAfterTheColon) {
  EXPECT_THAT(parse("data:x\n\ndata:  y\n\n"), ElementsAre("x", " y"));
}

TEST(SseParser, PassesOverCommentsAndOtherFields) {
  EXPECT_THAT(parse(": keep-alive\n\nevent: delta\nid: 7\ndata: x\nretry: 5\n\n"),
              ElementsAre("x"));
  EXPECT_THAT(parse("database: x\n\n"), IsEmpty());
}

TEST(SseParser, AFieldWithoutColonIsEmpty) {
  EXPECT_THAT(parse("data\n\n"), ElementsAre(""));
}

TEST(SseParser, PassesOverAByteOrderMarkAtTheStartOnly) {
  EXPECT_THAT(parse("\xEF\xBB\xBF"
                    "data: x\n\n\xEF\xBB\xBF"
                    "data: y\n\n"),
              ElementsAre("x"));
}

TEST(SseParser, AnEventThatDidNotEndIsNone) {
  SseParser parser;
  Events events;
  ASSERT_TRUE(parser.push("data: x\n", events));
  EXPECT_THAT(events, IsEmpty());
  EXPECT_TRUE(parser.is_inside_event());
  ASSERT_TRUE(parser.push("\n", events));
  EXPECT_THAT(events, ElementsAre("x"));
  EXPECT_FALSE(parser.is_inside_event());
}

constexpr std::string_view kStream =
    "\xEF\xBB\xBF: hello\r\ndata: {\"a\":\"\xC3\xA4\"}\r\n\r\nevent: x\rdata: 1\rdata: 2\r\r"
    "data\n\ndata: [DONE]\n\n";

TEST(SseParser, DoesNotDependOnWhereTheStreamIsCut) {
  const Events whole = parse(kStream);
  ASSERT_THAT(whole, ElementsAre("{\"a\":\"\xC3\xA4\"}", "1\n2", "", "[DONE]"));
  for (size_t cut = 0; cut <= kStream.size(); ++cut) {
    SseParser parser;
    Events events;
    ASSERT_TRUE(parser.push(kStream.substr(0, cut), events));
    ASSERT_TRUE(parser.push(kStream.substr(cut), events));
    EXPECT_EQ(events, whole) << "cut at byte " << cut;
  }
  SseParser parser;
  Events events;
  for (const char byte : kStream)
    ASSERT_TRUE(parser.push(std::string_view(&byte, 1), events));
  EXPECT_EQ(events, whole);
}

TEST(SseParser, RefusesAnEventBeyondTheLimit) {
  SseParser parser(10);
  Events events;
  EXPECT_TRUE(parser.push("data: 1234\n\ndata: 5678\n\n", events));
  EXPECT_THAT(events, ElementsAre("1234", "5678"));
  const auto pushed = parser.push("data: 12345", events);
  ASSERT_FALSE(pushed);
  EXPECT_EQ(pushed.error().code, ErrorCode::corrupt_data);

  SseParser in_many_lines(10);
  Result<void> last;
  for (int i = 0; i < 20 && last; ++i)
    last = in_many_lines.push("data:1\n", events);
  EXPECT_FALSE(last);
}

}  // namespace
}  // namespace tetrad::http
