#include "grammar/ebnf.h"

#include <gtest/gtest.h>

#include <chrono>

#include "grammar/matcher.h"

namespace tetrad::grammar {
namespace {

Result<Grammar> compiled(std::string_view text) {
  Builder builder;
  TETRAD_ASSIGN(const NodeId root, add_ebnf(builder, text));
  return std::move(builder).finish(root);
}

void expect_language(std::string_view ebnf, const std::vector<std::string_view>& in,
                     const std::vector<std::string_view>& out) {
  const auto grammar = compiled(ebnf);
  ASSERT_TRUE(grammar) << ebnf << ": " << grammar.error().message;
  const auto matches = [&](std::string_view text) {
    Matcher matcher(*grammar);
    return matcher.accept(text) && matcher.can_end();
  };
  for (const std::string_view text : in)
    EXPECT_TRUE(matches(text)) << ebnf << " should match " << text;
  for (const std::string_view text : out)
    EXPECT_FALSE(matches(text)) << ebnf << " should not match " << text;
}

TEST(Ebnf, TermsAndTheirRepetitions) {
  expect_language(R"(root ::= "a" "b"? | "c"*)", {"a", "ab", "", "ccc"}, {"b", "abc", "ac"});
  expect_language(R"(root ::= ("a" | "b")+ [0-9]{2} "x"{2,} "y"{,2} "z"{1,3})",
                  {"a00xxz", "abba12xxxxyyzzz"}, {"00xxz", "a0xxz", "a00xz", "a00xxyyyz", "a00xx"});
  expect_language("root ::= .{2}", {"ab", "é\n", "\xF0\x9F\x98\x80x"}, {"a", "abc"});
  expect_language(R"(root ::= "")", {""}, {"a"});
}

TEST(Ebnf, LiteralsAndClassesHaveEscapes) {
  expect_language(R"(root ::= "\"\\\n\t\x41\u00e9" [\]\\a-c\-])",
                  {"\"\\\n\tA\xC3\xA9]", "\"\\\n\tA\xC3\xA9\\", "\"\\\n\tA\xC3\xA9-"},
                  {"\"\\\n\tA\xC3\xA9"
                   "d"});
  expect_language(R"~(root ::= "a.b*c(d)[e]{1}$^|/")~", {"a.b*c(d)[e]{1}$^|/"},
                  {"axb*c(d)[e]{1}$^|/"});
  expect_language(R"~(root ::= "\n(x)?")~", {"\n(x)?"}, {"\nx", "\n"});
  expect_language(R"(root ::= [^"\\\x00-\x1f]+)", {"ab é"}, {"a\"", "a\n", ""});
}

TEST(Ebnf, RulesComeInAnyOrderAndGoOverLines) {
  expect_language(R"(# a list of numbers
root ::= "[" (number
          ("," number)*)? "]"   # the end
number ::=
    "-"? digits
digits ::= [1-9] [0-9]* | "0")",
                  {"[]", "[0]", "[-12,3,40]"}, {"[", "[01]", "[1,]", "[--1]"});
}

TEST(Ebnf, RulesRecurse) {
  expect_language(R"~(root ::= "(" root ")" | "x" | root-2
root-2 ::= "[" root "]")~",
                  {"x", "((x))", "([(x)])"}, {"(x", "([x)]", ""});
}

TEST(Ebnf, ErrorsNameTheLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no rule \"root\""},
      {"a ::= \"x\"", "no rule \"root\""},
      {"root ::= a", "line 1: there is no rule \"a\""},
      {"root ::= \"x\"\nroot ::= \"y\"", "line 2: the rule \"root\""},
      {"root = \"x\"", "line 1: \"::=\""},
      {"root ::= \"x", "line 1: a '\"'"},
      {"root ::= \"a\n\"", "line 1: a '\"'"},
      {"root ::= [a-", "line 1: a ']'"},
      {"root ::= (\"a\"", "line 1: a \")\""},
      {"root ::= \"a\")", "line 1: ')'"},
      {"root ::= \"a\"{2,1}", "line 1: {2,1}"},
      {"root ::= \"a\"{x}", "line 1: a number"},
      {"root ::= \"a\"{1000001}", "line 1: more than"},
      {"root ::= \"a\"{2", "line 1: a \"}\""},
      {"root ::= root \"a\" | \"b\"", "left recursive"},
      {"root ::= \"a\" root", "nothing satisfies it"},
      {"root ::= %", "line 1: '%'"},
      {"root ::= \"\xff\"", "not UTF-8 at byte 10"},
      {"\n\nroot ::= [b-a]", "line 3"},
  };
  for (const auto& [text, message] : cases) {
    const auto grammar = compiled(text);
    ASSERT_FALSE(grammar) << text;
    EXPECT_EQ(grammar.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(grammar.error().message.find(message), std::string::npos)
        << text << ": " << grammar.error().message;
  }
}

TEST(Ebnf, BombsAreRefusedInTime) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(
      compiled("root ::= " + std::string(60'000, '(') + "\"a\"" + std::string(60'000, ')')));
  std::string many = "root ::= ";
  for (int i = 0; i < 40'000; ++i)
    many += "\"a\" |";
  EXPECT_TRUE(compiled(many + " \"b\""));
  std::string rules = "root ::= r0\n";
  for (int i = 0; i < 8'000; ++i)
    rules += fmt::format("r{} ::= \"a\" r{}\n", i, i + 1);
  EXPECT_TRUE(compiled(rules + "r8000 ::= \"b\""));
  EXPECT_FALSE(compiled("root ::= " + std::string(300 << 10, ' ') + "\"a\""));
  // Repetitions of repetitions are counted, not written out.
  const auto nested = compiled("root ::= (((\"a\"{1000}){1000}){1000}){1000}");
  ASSERT_TRUE(nested);
  EXPECT_EQ(Matcher(*nested).min_bytes(), 1'000'000'000'000);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

}  // namespace
}  // namespace tetrad::grammar
