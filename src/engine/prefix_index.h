#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/batch.h"
#include "text/tokenizer.h"

namespace tetrad {

/// Names a run of tokens from the beginning of a sequence, in whole blocks: a keyed BLAKE2b hash of
/// the run before it and of its last block's tokens. Who does not know the key can neither make two
/// runs of one name nor tell from names what others sent.
struct PrefixHash {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const PrefixHash&) const = default;
};

/// Finds the block that holds the keys and values of given tokens after a given prefix. It knows
/// nothing of who uses a block: see BlockPool. The engine's thread alone uses it.
class PrefixIndex {
 public:
  using Key = std::array<unsigned char, 32>;
  using BlockTokens = std::span<const TokenId, kKvBlockSize>;

  PrefixIndex(int64_t num_blocks, const Key& key);
  /// A key that nobody can guess.
  static Key random_key();

  /// The empty run. Runs of different salts never meet.
  PrefixHash root(std::string_view cache_salt) const;
  /// `prefix` and one block more.
  PrefixHash extend(const PrefixHash& prefix, BlockTokens tokens) const;

  /// The block that ends the run `hash`. Its tokens are compared: a hash alone is no proof.
  std::optional<int32_t> find(const PrefixHash& hash, BlockTokens tokens) const;
  /// Remembers `block` as the end of the run `hash`. Of two blocks of the same content the first
  /// stays: then false.
  bool insert(const PrefixHash& hash, BlockTokens tokens, int32_t block);
  /// The block's content is about to be overwritten. The run that it was the end of, if any.
  std::optional<PrefixHash> forget(int32_t block);
  bool contains(int32_t block) const { return entries_[static_cast<size_t>(block)].has_value(); }
  int64_t size() const { return static_cast<int64_t>(blocks_.size()); }

 private:
  struct Entry {
    PrefixHash hash;
    std::array<TokenId, kKvBlockSize> tokens;
  };
  struct Low {
    size_t operator()(const PrefixHash& hash) const { return hash.low; }
  };

  Key key_;
  std::unordered_map<PrefixHash, int32_t, Low> blocks_;
  std::vector<std::optional<Entry>> entries_;  // of each block
};

}  // namespace tetrad
