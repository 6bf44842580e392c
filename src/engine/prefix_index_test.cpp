#include "engine/prefix_index.h"

#include <gtest/gtest.h>

#include <numeric>

namespace tetrad {
namespace {

using Block = std::array<TokenId, kKvBlockSize>;

Block block_from(TokenId first) {
  Block block;
  std::iota(block.begin(), block.end(), first);
  return block;
}

TEST(PrefixIndex, FindsARunOfBlocksByItsWholePast) {
  PrefixIndex index(8, {});
  const PrefixHash root = index.root("");
  const PrefixHash one = index.extend(root, block_from(0));
  const PrefixHash two = index.extend(one, block_from(16));
  index.insert(one, block_from(0), 3);
  index.insert(two, block_from(16), 5);
  EXPECT_EQ(index.find(one, block_from(0)), 3);
  EXPECT_EQ(index.find(two, block_from(16)), 5);
  // The same tokens behind another past are another run.
  const PrefixHash elsewhere = index.extend(root, block_from(16));
  EXPECT_FALSE(index.find(elsewhere, block_from(16)));
  EXPECT_TRUE(index.contains(5));
  EXPECT_FALSE(index.contains(0));
  EXPECT_EQ(index.size(), 2);
}

TEST(PrefixIndex, AHashIsNoProof) {
  PrefixIndex index(8, {});
  const PrefixHash hash = index.extend(index.root(""), block_from(0));
  index.insert(hash, block_from(0), 1);
  EXPECT_FALSE(index.find(hash, block_from(1)));  // as if two runs had one hash
}

TEST(PrefixIndex, TheFirstOfEqualsStaysAndTheForgottenIsGone) {
  PrefixIndex index(8, {});
  const PrefixHash hash = index.extend(index.root(""), block_from(0));
  index.insert(hash, block_from(0), 1);
  index.insert(hash, block_from(0), 2);
  EXPECT_EQ(index.find(hash, block_from(0)), 1);
  EXPECT_FALSE(index.contains(2));
  index.forget(2);
  EXPECT_EQ(index.find(hash, block_from(0)), 1);
  index.forget(1);
  EXPECT_FALSE(index.find(hash, block_from(0)));
  EXPECT_EQ(index.size(), 0);
  index.insert(hash, block_from(0), 2);
  EXPECT_EQ(index.find(hash, block_from(0)), 2);
}

TEST(PrefixIndex, SaltsAndKeysKeepRunsApart) {
  PrefixIndex index(8, {});
  EXPECT_NE(index.root(""), index.root("a"));
  EXPECT_NE(index.root("a"), index.root("b"));
  PrefixIndex other(8, PrefixIndex::random_key());
  EXPECT_NE(index.root("a"), other.root("a"));
  EXPECT_NE(PrefixIndex::random_key(), PrefixIndex::random_key());
  EXPECT_NE(index.extend(index.root("a"), block_from(0)),
            other.extend(index.root("a"), block_from(0)));
}

}  // namespace
}  // namespace tetrad
