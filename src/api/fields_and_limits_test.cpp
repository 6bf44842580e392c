// The small parts around requests and answers.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "api/cache_salt.h"
#include "api/response_limits.h"
#include "api/token_fields.h"
#include "api/token_offsets.h"
#include "engine/bundled_model.h"

namespace tetrad::api {
namespace {

TEST(BadWords, AreSpeltAtTheBeginningAndInsideOfAText) {
  const std::vector<std::string> words{"river", "the end", "é"};
  const auto sequences = bad_word_tokens(bundled_tokenizer(), words);
  ASSERT_TRUE(sequences) << sequences.error().message;
  std::vector<std::string> spellings;
  for (const std::vector<TokenId>& ids : *sequences)
    spellings.push_back(bundled_tokenizer().decode(ids, false));
  EXPECT_THAT(spellings, testing::ElementsAre("river", " river", "the end", " the end", "é", " é"));
}

TEST(TokenOffsets, CountCharacters) {
  const std::string text = "naïve 日本 text";
  const auto ids = bundled_tokenizer().encode(text, SpecialTokens::ignore);
  ASSERT_TRUE(ids);
  TokenOffsets offsets(bundled_tokenizer());
  std::string before;  // bytes
  for (const TokenId id : *ids) {
    int64_t expected = 0;
    for (const char byte : before)
      expected += (byte & 0xC0) != 0x80 ? 1 : 0;
    const std::string_view bytes = bundled_tokenizer().token_bytes(id);
    if ((bytes.front() & 0xC0) == 0x80) --expected;  // in the middle of the character
    EXPECT_EQ(offsets.next(id, true), expected);
    before += bytes;
  }
  EXPECT_EQ(before, text);
}

TEST(CacheSalt, DiffersForClientsThatMustNotShare) {
  const ApiKeys keys({"first", "second"});
  std::set<std::string> salts;
  for (const char* authorization : {"Bearer first", "Bearer second"}) {
    // The last two try to be another key's.
    for (const char* requested : {"", "a", ":", ":a", "0:a", "1:a"}) {
      const auto salt = [&](PrefixSharing sharing) {
        return cache_salt(sharing, keys, {.authorization = authorization}, requested);
      };
      EXPECT_TRUE(salts.insert(salt(PrefixSharing::within_key)).second);
      EXPECT_EQ(salt(PrefixSharing::within_key), salt(PrefixSharing::within_key));
      EXPECT_EQ(
          salt(PrefixSharing::all_keys),
          cache_salt(PrefixSharing::all_keys, keys, {.authorization = "Bearer first"}, requested));
    }
  }
  EXPECT_EQ(cache_salt(PrefixSharing::within_key, ApiKeys({}), {.authorization = "Bearer a"}, "x"),
            cache_salt(PrefixSharing::within_key, ApiKeys({}), {}, "x"));
}

TEST(PromptReport, IsBounded) {
  EXPECT_TRUE(check_prompt_report({.num_prompt_tokens = 180'000, .prompt_logprobs = 0}));
  EXPECT_TRUE(check_prompt_report({.stream = true, .num_prompt_tokens = 180'000}));
  EXPECT_TRUE(check_prompt_report(
      {.stream = true, .num_prompt_tokens = 1000, .echo_bytes = 4000, .prompt_logprobs = 3}));
  const auto refused = [](const PromptReport& report) {
    const auto checked = check_prompt_report(report);
    return checked ? "" : checked.error().param;
  };
  EXPECT_EQ(refused({.num_prompt_tokens = 20'000, .prompt_logprobs = 20}), "prompt");
  EXPECT_EQ(refused({.num_answers = 2, .num_prompt_tokens = 180'000, .prompt_logprobs = 0}),
            "prompt");
  EXPECT_EQ(refused({.stream = true, .num_prompt_tokens = 5000, .prompt_logprobs = 0}), "prompt");
  EXPECT_EQ(refused({.stream = true, .num_answers = 2, .echo_bytes = 200'000}), "echo");
}

}  // namespace
}  // namespace tetrad::api
