#include "grammar/matcher.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/schema_checks_for_tests.h"

namespace tetrad::grammar {
namespace {

/// By reference: which argument of a call comes first is the compiler's choice.
Grammar finished(Builder&& builder, NodeId root) {
  auto grammar = std::move(builder).finish(root);
  EXPECT_TRUE(grammar) << grammar.error().message;
  return grammar ? std::move(*grammar) : Grammar();
}

NodeId digit(Builder& builder) {
  const auto digits = parse_regex("[0-9]", RegexMatch::whole, {});
  auto dfa = encode(*digits, Encoding::utf8, {});
  return builder.text(std::make_shared<const ByteDfa>(std::move(*dfa)));
}

TEST(GrammarMatcher, FollowsALiteralByteByByte) {
  Builder builder;
  const Grammar grammar = finished(std::move(builder), builder.literal("yes"));
  Matcher matcher(grammar);
  EXPECT_EQ(matcher.min_bytes(), 3);
  EXPECT_TRUE(matcher.accept("ye"));
  EXPECT_FALSE(matcher.accept("t"));
  EXPECT_EQ(matcher.min_bytes(), 1);
  EXPECT_FALSE(matcher.can_end());
  EXPECT_TRUE(matcher.accept("s"));
  EXPECT_TRUE(matcher.can_end());
  EXPECT_FALSE(matcher.accept("s"));
}

TEST(GrammarMatcher, KeepsAllChoicesOpen) {
  Builder builder;
  const NodeId root = builder.choice(
      {builder.literal("ab"), builder.sequence({builder.literal("a"), builder.literal("bc")}),
       builder.empty(), builder.never()});
  const Grammar grammar = finished(std::move(builder), root);
  for (const char* text : {"", "ab", "abc"})
    EXPECT_TRUE(matches(grammar, text)) << text;
  for (const char* text : {"a", "b", "abcc", "aab"})
    EXPECT_FALSE(matches(grammar, text)) << text;
}

TEST(GrammarMatcher, CountsRepetitions) {
  Builder builder;
  const NodeId root = builder.repeat(builder.literal("ab"), 2, 4);
  const Grammar grammar = finished(std::move(builder), root);
  for (int n = 0; n < 7; ++n) {
    std::string text;
    for (int i = 0; i < n; ++i)
      text += "ab";
    EXPECT_EQ(matches(grammar, text), n >= 2 && n <= 4) << n;
  }
}

TEST(GrammarMatcher, RepeatsWhatMayBeEmpty) {
  Builder builder;
  const NodeId item = builder.optional(builder.literal("x"));
  const Grammar grammar = finished(std::move(builder), builder.repeat(item, 3, kUnbounded));
  for (const char* text : {"", "x", "xx", "xxxxxxxxx"})
    EXPECT_TRUE(matches(grammar, text)) << text;
  EXPECT_FALSE(matches(grammar, "y"));
}

TEST(GrammarMatcher, RepeatsWhatCanBeCutInSeveralWays) {
  Builder builder;
  const NodeId item = builder.choice({builder.literal("a"), builder.literal("aa")});
  const Grammar grammar = finished(std::move(builder), builder.repeat(item, 3, 4));
  for (size_t n = 0; n < 12; ++n)
    EXPECT_EQ(matches(grammar, std::string(n, 'a')), n >= 3 && n <= 8) << n;
}

TEST(GrammarMatcher, ListsHavePrefixesAndSeparators) {
  Builder builder;
  const NodeId root = builder.add(List{.open = builder.literal("["),
                                       .separator = builder.literal(","),
                                       .close = builder.literal("]"),
                                       .prefix = {builder.literal("a"), builder.literal("b")},
                                       .rest = builder.literal("c"),
                                       .min_items = 1,
                                       .max_items = 4});
  const Grammar grammar = finished(std::move(builder), root);
  EXPECT_EQ(Matcher(grammar).min_bytes(), 3);
  for (const char* text : {"[a]", "[a,b]", "[a,b,c]", "[a,b,c,c]"})
    EXPECT_TRUE(matches(grammar, text)) << text;
  for (const char* text : {"[]", "[b]", "[a,c]", "[a,b,c,c,c]", "[a,]", "[a", "[,a]"})
    EXPECT_FALSE(matches(grammar, text)) << text;
}

TEST(GrammarMatcher, AListEndsBeforeAnItemThatCannotBe) {
  Builder builder;
  const NodeId root = builder.add(List{.open = builder.literal("["),
                                       .separator = builder.literal(","),
                                       .close = builder.literal("]"),
                                       .prefix = {builder.literal("a")},
                                       .rest = builder.never()});
  const Grammar grammar = finished(std::move(builder), root);
  EXPECT_TRUE(matches(grammar, "[]"));
  EXPECT_TRUE(matches(grammar, "[a]"));
  EXPECT_FALSE(Matcher(grammar).accept("[a,"));
}

TEST(GrammarMatcher, Recurses) {
  Builder builder;
  const NodeId nested = builder.declare();
  builder.define(nested,
                 builder.choice({digit(builder), builder.sequence({builder.literal("("), nested,
                                                                   builder.literal(")")})}));
  const Grammar grammar = finished(std::move(builder), nested);
  EXPECT_TRUE(matches(grammar, "((7))"));
  EXPECT_FALSE(matches(grammar, "((7)"));
  Matcher matcher(grammar);
  ASSERT_TRUE(matcher.accept("(((("));
  EXPECT_EQ(matcher.min_bytes(), 5);
}

TEST(GrammarMatcher, SpecialTokensAreNotTheirSpelling) {
  Builder builder;
  const NodeId root =
      builder.sequence({builder.literal("a"), builder.special(7), builder.literal("b")});
  const Grammar grammar = finished(std::move(builder), root);
  Matcher matcher(grammar);
  EXPECT_FALSE(matcher.accept_special(7));
  EXPECT_TRUE(matcher.accept("a"));
  EXPECT_FALSE(matcher.accept("b"));
  EXPECT_FALSE(matcher.accept_special(8));
  EXPECT_EQ(matcher.min_bytes(), 2);
  EXPECT_TRUE(matcher.accept_special(7));
  EXPECT_TRUE(matcher.accept("b"));
  EXPECT_TRUE(matcher.can_end());
}

/// {k1:1,k2:2,…} with keys a, bb, ccc, and, if `open`, others of the letter x.
Grammar object(bool open, std::vector<bool> required, int64_t min, int64_t max) {
  Builder builder;
  std::vector<Automaton> sets = {Automaton::literal("a"), Automaton::literal("bb"),
                                 Automaton::literal("ccc")};
  if (open) sets.push_back(*parse_regex("x+", RegexMatch::whole, {}));
  auto classifier = classify(sets, Encoding::utf8, ":", {});
  EXPECT_TRUE(classifier);
  Members members{.open = builder.literal("{"),
                  .separator = builder.literal(","),
                  .close = builder.literal("}"),
                  .between = builder.empty(),
                  .after = builder.empty(),
                  .keys = std::make_shared<const ByteDfa>(classifier->dfa),
                  .min_members = min,
                  .max_members = max};
  for (const auto& of_label : classifier->members) {
    const auto set = static_cast<size_t>(of_label.front());
    members.kinds.push_back({.value = builder.literal(std::to_string(set + 1)),
                             .required = set < 3 && required[set],
                             .once = set < 3});
  }
  const NodeId root = builder.add(std::move(members));
  return finished(std::move(builder), root);
}

TEST(GrammarMatcher, MembersComeInAnyOrderAndOnce) {
  const Grammar grammar = object(/*open=*/false, {true, false, true}, 0, kUnbounded);
  EXPECT_EQ(Matcher(grammar).min_bytes(), 11);
  for (const char* text : {"{a:1,ccc:3}", "{ccc:3,a:1}", "{bb:2,ccc:3,a:1}", "{ccc:3,bb:2,a:1}"})
    EXPECT_TRUE(matches(grammar, text)) << text;
  for (const char* text : {"{}", "{a:1}", "{a:1,bb:2}", "{a:1,a:1,ccc:3}", "{a:2,ccc:3}",
                           "{a:1,ccc:3,}", "{a:1,ccc:3,bb:2,bb:2}", "{x:4,a:1,ccc:3}"})
    EXPECT_FALSE(matches(grammar, text)) << text;
  Matcher matcher(grammar);
  ASSERT_TRUE(matcher.accept("{a:1,bb:2,ccc:3"));
  EXPECT_FALSE(matcher.accept(",")) << "there is no member left to come";
}

TEST(GrammarMatcher, MembersAreCounted) {
  const Grammar grammar = object(/*open=*/true, {false, true, false}, 2, 3);
  EXPECT_EQ(Matcher(grammar).min_bytes(), 2 + 4 + 1 + 3);
  for (const char* text : {"{a:1,bb:2}", "{x:4,xx:4,bb:2}", "{bb:2,x:4}"})
    EXPECT_TRUE(matches(grammar, text)) << text;
  EXPECT_FALSE(matches(grammar, "{bb:2}"));
  Matcher matcher(grammar);
  ASSERT_TRUE(matcher.accept("{x:4,a:1,"));
  EXPECT_FALSE(matcher.accept("x")) << "the last place is the required member's";
  EXPECT_TRUE(matcher.accept("bb:2}"));
}

TEST(GrammarBuilder, RefusesWhatCannotBeMatched) {
  {
    Builder builder;
    const auto grammar = std::move(builder).finish(builder.never());
    ASSERT_FALSE(grammar);
    EXPECT_EQ(grammar.error().code, ErrorCode::invalid_argument);
  }
  Builder builder;
  const NodeId endless = builder.declare();
  builder.define(endless, builder.sequence({builder.literal("x"), endless}));
  EXPECT_FALSE(std::move(builder).finish(endless));
}

TEST(GrammarBuilder, MoreThanThereMayBeIsNothing) {
  Builder builder;
  const NodeId root = builder.repeat(builder.literal("x"), 3, 2);
  EXPECT_FALSE(std::move(builder).finish(root));
}

TEST(GrammarBuilder, RefusesLeftRecursion) {
  Builder builder;
  const NodeId rule = builder.declare();
  const NodeId maybe = builder.optional(builder.literal(" "));
  builder.define(rule, builder.choice({builder.literal("a"),
                                       builder.sequence({maybe, rule, builder.literal("+")})}));
  const auto grammar = std::move(builder).finish(rule);
  ASSERT_FALSE(grammar);
  EXPECT_NE(grammar.error().message.find("left recursive"), std::string::npos);
}

/// From everywhere there is a way to the end that is as long as min_bytes() says, and none shorter.
void check_min_bytes(const Grammar& grammar, std::string_view alphabet, int num_bytes) {
  Matcher matcher(grammar);
  for (int i = 0; i < num_bytes; ++i) {
    const int64_t before = matcher.min_bytes();
    RC_ASSERT((before == 0) == matcher.can_end());
    int64_t least = kNoMatch;
    std::vector<Matcher> ways;
    for (const char c : alphabet) {
      Matcher next = matcher;
      if (!next.accept(std::string_view(&c, 1))) continue;
      least = std::min(least, next.min_bytes());
      ways.push_back(std::move(next));
    }
    if (before > 0) RC_ASSERT(least == before - 1);
    if (ways.empty()) return;
    matcher = ways[*rc::gen::inRange(size_t{0}, ways.size())];
  }
}

RC_GTEST_PROP(GrammarMatcher, MinBytesIsExactInObjects, ()) {
  const auto required = *rc::gen::container<std::vector<bool>>(3, rc::gen::arbitrary<bool>());
  const bool open = *rc::gen::arbitrary<bool>();
  const auto num_required = std::ranges::count(required, true);
  const int64_t most = open ? 6 : 3;
  const auto max = *rc::gen::inRange<int64_t>(std::max<int64_t>(num_required, 1), most + 1);
  const auto min = *rc::gen::inRange<int64_t>(0, max + 1);
  const bool bounded = *rc::gen::arbitrary<bool>();
  check_min_bytes(object(open, required, min, bounded ? max : kUnbounded), "{}abcx:,1234", 60);
}

RC_GTEST_PROP(GrammarMatcher, MinBytesIsExactInLists, ()) {
  Builder builder;
  const auto num_prefix = *rc::gen::inRange(0, 3);
  std::vector<NodeId> prefix;
  for (int i = 0; i < num_prefix; ++i)
    prefix.push_back(builder.literal(std::string(static_cast<size_t>(i + 1), 'p')));
  const auto max = *rc::gen::inRange<int64_t>(1, 8);
  const auto min = *rc::gen::inRange<int64_t>(0, max + 1);
  const bool bounded = *rc::gen::arbitrary<bool>();
  const NodeId root =
      builder.add(List{.open = builder.literal("["),
                       .separator = builder.literal(", "),
                       .close = builder.literal("]"),
                       .prefix = std::move(prefix),
                       .rest = builder.choice({builder.literal("r"), builder.literal("rr,")}),
                       .min_items = min,
                       .max_items = bounded ? max : kUnbounded});
  check_min_bytes(finished(std::move(builder), root), "[], pr", 60);
}

TEST(GrammarMatcher, ForgetsThePastOfALongText) {
  Builder builder;
  const NodeId root = builder.repeat(digit(builder), 0, 100'000);
  const Grammar grammar = finished(std::move(builder), root);
  Matcher matcher(grammar);
  for (int i = 0; i < 100'000; ++i)
    ASSERT_TRUE(matcher.accept("7"));
  EXPECT_LT(matcher.store().size(), 20'000U);
  EXPECT_TRUE(matcher.can_end());
  EXPECT_FALSE(matcher.accept("7"));
}

}  // namespace
}  // namespace tetrad::grammar
