#include "text/byte_pair_encoder.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <utility>

namespace tetrad {
namespace {

std::array<TokenId, 256> identity_bytes() {
  std::array<TokenId, 256> tokens{};
  for (size_t byte = 0; byte < 256; ++byte)
    tokens[byte] = static_cast<TokenId>(byte);
  return tokens;
}

/// Byte-pair encoding as it is defined: look at all pairs, apply the best, begin again.
std::vector<TokenId> by_definition(std::string_view piece, const std::vector<Merge>& merges) {
  std::map<std::pair<TokenId, TokenId>, size_t> ranks;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    ranks[{merges[rank].left, merges[rank].right}] = rank;
  }
  std::vector<TokenId> tokens;
  for (const char c : piece)
    tokens.push_back(static_cast<uint8_t>(c));
  while (true) {
    size_t best_rank = merges.size();
    size_t best_at = 0;
    for (size_t at = 0; at + 1 < tokens.size(); ++at) {
      const auto found = ranks.find({tokens[at], tokens[at + 1]});
      if (found != ranks.end() && found->second < best_rank) {
        best_rank = found->second;
        best_at = at;
      }
    }
    if (best_rank == merges.size()) return tokens;
    tokens[best_at] = merges[best_rank].result;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

/// Merges of tokens chosen at random, so that they overlap and compete in every way.
std::vector<Merge> random_merges(std::mt19937& random, size_t count) {
  std::map<std::string, TokenId> ids = {{"a", 'a'}, {"b", 'b'}, {"c", 'c'}};
  std::map<std::pair<std::string, std::string>, bool> seen;
  std::vector<Merge> merges;
  while (merges.size() < count) {
    const auto pick = [&] { return std::next(ids.begin(), random() % ids.size())->first; };
    const std::string left = pick();
    const std::string right = pick();
    if (left.size() + right.size() > 6 || !seen.emplace(std::pair(left, right), true).second) {
      continue;
    }
    const auto next_id = static_cast<TokenId>(256 + ids.size());
    const TokenId result = ids.emplace(left + right, next_id).first->second;
    merges.push_back({ids[left], ids[right], result});
  }
  return merges;
}

TEST(BytePairEncoder, FindsWhatTheDefinitionFinds) {
  std::mt19937 random(1);
  BytePairEncoder::Workspace workspace;
  for (int round = 0; round < 50; ++round) {
    const std::vector<Merge> merges = random_merges(random, 1 + random() % 30);
    const auto encoder = BytePairEncoder::create(identity_bytes(), merges);
    ASSERT_TRUE(encoder.has_value());
    for (int i = 0; i < 40; ++i) {
      std::string piece;
      for (size_t n = random() % 40; n > 0; --n)
        piece += static_cast<char>('a' + random() % 4);
      std::vector<TokenId> tokens;
      encoder->encode(piece, workspace, tokens);
      ASSERT_EQ(tokens, by_definition(piece, merges)) << piece;
    }
  }
}

// Quadratic time would make this take hours.
TEST(BytePairEncoder, AVeryLongPiece) {
  const std::vector<Merge> merges = {{'a', 'a', 256}, {256, 256, 257}, {257, 257, 258}};
  const auto encoder = BytePairEncoder::create(identity_bytes(), merges);
  ASSERT_TRUE(encoder.has_value());
  BytePairEncoder::Workspace workspace;
  std::vector<TokenId> tokens;
  encoder->encode(std::string(1'000'007, 'a'), workspace, tokens);
  std::vector<TokenId> expected(125'000, 258);
  expected.insert(expected.end(), {257, 256, 'a'});
  EXPECT_EQ(tokens, expected);
}

TEST(BytePairEncoder, AppendsToWhatIsThereAndTakesNothing) {
  const auto encoder = BytePairEncoder::create(identity_bytes(), {});
  ASSERT_TRUE(encoder.has_value());
  BytePairEncoder::Workspace workspace;
  std::vector<TokenId> tokens = {7};
  encoder->encode("", workspace, tokens);
  encoder->encode("\xFF", workspace, tokens);
  EXPECT_EQ(tokens, (std::vector<TokenId>{7, 255}));
}

TEST(BytePairEncoder, RefusesTwoMergesOfOnePair) {
  const auto encoder = BytePairEncoder::create(identity_bytes(),
                                               {{'a', 'b', 256}, {'b', 'c', 257}, {'a', 'b', 258}});
  ASSERT_FALSE(encoder.has_value());
  EXPECT_EQ(encoder.error().code, ErrorCode::corrupt_data);
  EXPECT_NE(encoder.error().message.find("merges[2] repeats merges[0]"), std::string::npos)
      << encoder.error().message;
}

}  // namespace
}  // namespace tetrad
