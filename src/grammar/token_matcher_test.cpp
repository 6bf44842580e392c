#include "grammar/token_matcher.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/sanitized_for_tests.h"
#include "grammar/answer_constraint.h"
#include "grammar/automaton.h"
#include "grammar/ebnf.h"

namespace tetrad::grammar {
namespace {

const Tokenizer& demo_tokenizer() {
  static const auto* tokenizer = new Tokenizer(
      *Tokenizer::from_file(TETRAD_SOURCE_DIR "/models/tetrad-demo-mxfp4_16/tokenizer.json"));
  return *tokenizer;
}

std::shared_ptr<const TokenTrie> demo_trie() {
  static const auto trie = std::make_shared<const TokenTrie>(demo_tokenizer());
  return trie;
}

std::shared_ptr<const Grammar> grammar_of(std::string_view ebnf) {
  Builder builder;
  const auto root = add_ebnf(builder, ebnf);
  EXPECT_TRUE(root) << root.error().message;
  auto grammar = std::move(builder).finish(*root);
  EXPECT_TRUE(grammar) << grammar.error().message;
  return std::make_shared<const Grammar>(std::move(*grammar));
}

std::shared_ptr<MaskCache> cache_of(std::string_view ebnf) {
  return std::make_shared<MaskCache>(grammar_of(ebnf), demo_trie());
}

// Nested lists of numbers and strings of limited length, with numbers of members.
constexpr std::string_view kNotes = R"(
root  ::= "{" pair{1,3} "}"
pair  ::= [a-z]{2,5} "=" value ";"
value ::= [0-9]+ | "\"" [^"\\]{0,12} "\"" | "[" (value ("," value)*)? "]"
)";

TEST(TokenTrie, HoldsEveryOrdinaryTokenOnce) {
  const Tokenizer& tokenizer = demo_tokenizer();
  const auto trie = demo_trie();
  size_t num_tokens = 0;
  std::string path;
  for (const TokenTrie::Node& node : trie->nodes()) {
    path.resize(node.depth - 1U);
    path += static_cast<char>(node.byte);
    for (int32_t i = node.first_token; i < node.last_token; ++i, ++num_tokens)
      EXPECT_EQ(tokenizer.token_bytes(trie->tokens()[static_cast<size_t>(i)]), path);
  }
  EXPECT_EQ(num_tokens, 6080U);
}

/// The mask, token by token, against the matcher itself.
TEST(TokenMatcher, MasksAreWhatTheBytesSay) {
  const Tokenizer& tokenizer = demo_tokenizer();
  const auto cache = cache_of(kNotes);
  std::mt19937 random(7);
  for (int round = 0; round < (kSanitized ? 1 : 3); ++round) {
    TokenMatcher tokens(cache, tokenizer);
    Matcher bytes(cache->grammar());
    for (int step = 0; step < (kSanitized ? 6 : 20); ++step) {
      const TokenSet& allowed = tokens.allowed(1'000'000);
      std::vector<TokenId> choices;
      for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
        const bool added = tokenizer.is_added(id);
        Matcher probe = bytes;
        const bool fits =
            !added && !tokenizer.token_bytes(id).empty() && probe.accept(tokenizer.token_bytes(id));
        ASSERT_EQ(allowed.contains(id), fits) << tokenizer.token_bytes(id);
        if (fits) choices.push_back(id);
      }
      if (choices.empty()) break;
      const TokenId chosen = choices[random() % choices.size()];
      ASSERT_TRUE(bytes.accept(tokenizer.token_bytes(chosen)));
      ASSERT_TRUE(tokens.accept(chosen));
      ASSERT_EQ(tokens.can_end(), bytes.can_end());
    }
  }
}

TEST(TokenMatcher, RefusesATokenThatWasNotAllowed) {
  TokenMatcher matcher(cache_of(R"(root ::= "yes")"), demo_tokenizer());
  const auto no = demo_tokenizer().encode("no");
  ASSERT_TRUE(no);
  EXPECT_FALSE(matcher.accept(no->front()));
  EXPECT_FALSE(matcher.can_end());
}

/// Whatever is chosen of what is allowed, the text ends in time.
TEST(TokenMatcher, EndsWithinItsTokens) {
  const auto cache = cache_of(kNotes);
  const Tokenizer& tokenizer = demo_tokenizer();
  const int64_t least = TokenMatcher(cache, tokenizer).min_tokens();
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    TokenMatcher matcher(cache, tokenizer);
    const int64_t max_tokens = least + round % 60;
    int64_t used = 0;
    while (used < max_tokens) {
      const TokenSet& allowed = matcher.allowed(max_tokens - used);
      std::vector<TokenId> choices;
      for (TokenId id = 0; id < allowed.vocab_size(); ++id) {
        if (allowed.contains(id)) choices.push_back(id);
      }
      if (choices.empty()) break;
      ASSERT_TRUE(matcher.accept(choices[random() % choices.size()]));
      ++used;
    }
    ASSERT_TRUE(matcher.can_end()) << "of " << max_tokens << " tokens";
  }
}

/// Long strings are one place, not as many as there are characters.
TEST(TokenMatcher, CountsOutOfSightShareTheirMasks) {
  const auto cache = cache_of(R"(root ::= [a-z]{0,5000})");
  const Tokenizer& tokenizer = demo_tokenizer();
  TokenMatcher matcher(cache, tokenizer);
  const auto a = tokenizer.encode("a");
  ASSERT_TRUE(a && a->size() == 1);
  const TokenSet first = matcher.allowed(1 << 20);
  for (int i = 0; i < 4990; ++i)
    ASSERT_TRUE(matcher.accept(a->front()));
  const TokenSet& near_end = matcher.allowed(1 << 20);
  EXPECT_NE(first, near_end) << "tokens of more than ten letters have no room any more";
  for (TokenId id = 0; id < near_end.vocab_size(); ++id) {
    EXPECT_FALSE(near_end.contains(id) && tokenizer.token_bytes(id).size() > 10) << id;
  }
}

class AnswerConstraintTest : public ::testing::Test {
 protected:
  TokenId added(std::string_view text) const { return *tokenizer_.find_added_token(text); }
  TokenId ordinary(std::string_view text) const { return tokenizer_.encode(text)->front(); }

  const Tokenizer& tokenizer_ = demo_tokenizer();
  const AnswerTags tags_ = AnswerTags::of(tokenizer_, {added("[e~[")});
};

TEST_F(AnswerConstraintTest, HoldsWhatFollowsTheThinking) {
  const auto constraint = constrain_answer(
      tokenizer_,
      {.tags = tags_, .starts_in_reasoning = true, .body = cache_of(R"(root ::= "yes" | "no")")});
  const auto state = constraint->start();
  const TokenSet* thinking = *state->allowed(1000);
  ASSERT_NE(thinking, nullptr);
  EXPECT_TRUE(thinking->contains(ordinary("hello")));
  EXPECT_TRUE(thinking->contains(added("</think>")));
  EXPECT_FALSE(thinking->contains(added("[e~["))) << "no answer ends before it began";
  EXPECT_FALSE(thinking->contains(added("<minimax:tool_call>")));
  state->accept(ordinary("hello"));
  state->accept(added("</think>"));
  const TokenSet* body = *state->allowed(998);
  EXPECT_TRUE(body->contains(ordinary("y")));
  EXPECT_FALSE(body->contains(ordinary("h")));
  EXPECT_FALSE(body->contains(added("[e~[")));
  state->accept(ordinary("n"));
  state->accept(ordinary("o"));
  const TokenSet* end = *state->allowed(996);
  TokenSet only_end(tokenizer_.vocab_size());
  only_end.insert(added("[e~["));
  EXPECT_EQ(*end, only_end);
}

TEST_F(AnswerConstraintTest, ThinkingLeavesRoomForTheAnswer) {
  const auto constraint = constrain_answer(
      tokenizer_,
      {.tags = tags_, .starts_in_reasoning = true, .body = cache_of(R"(root ::= "yes" | "no")")});
  const auto state = constraint->start();
  int64_t left = 40;
  for (; left > 0; --left) {
    const TokenSet* allowed = *state->allowed(left);
    if (!allowed->contains(ordinary("hello"))) break;
    state->accept(ordinary("hello"));
  }
  EXPECT_EQ(left, 10) << "a quarter";
  EXPECT_TRUE((*state->allowed(left))->contains(added("</think>")));
}

TEST_F(AnswerConstraintTest, ThinkingHasItsBudget) {
  const auto constraint = constrain_answer(
      tokenizer_, {.tags = tags_, .starts_in_reasoning = true, .thinking_token_budget = 3});
  const auto state = constraint->start();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(*state->allowed(100), nullptr);
    state->accept(ordinary("hello"));
  }
  const TokenSet* allowed = *state->allowed(97);
  ASSERT_NE(allowed, nullptr);
  EXPECT_FALSE(allowed->contains(ordinary("hello")));
  EXPECT_TRUE(allowed->contains(added("</think>")));
  state->accept(added("</think>"));
  EXPECT_EQ(*state->allowed(96), nullptr);
}

TEST_F(AnswerConstraintTest, CallsAreHeldToTheirGrammarWhereverTheyBegin) {
  Builder builder;
  const NodeId root = builder.sequence({builder.literal("\nx"), builder.special(tags_.calls_end)});
  const auto calls = std::make_shared<MaskCache>(
      std::make_shared<const Grammar>(*std::move(builder).finish(root)), demo_trie());
  const auto constraint =
      constrain_answer(tokenizer_, {.tags = tags_, .starts_in_reasoning = true, .calls = calls});
  const auto state = constraint->start();
  for (int block = 0; block < 2; ++block) {
    EXPECT_EQ(*state->allowed(100), nullptr);
    state->accept(added("<minimax:tool_call>"));
    const TokenSet* allowed = *state->allowed(100);
    ASSERT_NE(allowed, nullptr);
    EXPECT_TRUE(allowed->contains(ordinary("\n")));
    EXPECT_FALSE(allowed->contains(ordinary("x")));
    state->accept(ordinary("\n"));
    state->accept(ordinary("x"));
    EXPECT_TRUE((*state->allowed(100))->contains(added("</minimax:tool_call>")));
    state->accept(added("</minimax:tool_call>"));
  }
  EXPECT_EQ(*state->allowed(100), nullptr);
}

}  // namespace
}  // namespace tetrad::grammar
