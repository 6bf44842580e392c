#include "engine/prefix_index.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>

namespace tetrad {
namespace {

PrefixHash keyed_hash(const PrefixIndex::Key& key, std::span<const unsigned char> first,
                      std::span<const unsigned char> second) {
  crypto_generichash_state state;
  PrefixHash hash;
  unsigned char bytes[sizeof hash];
  crypto_generichash_init(&state, key.data(), key.size(), sizeof bytes);
  crypto_generichash_update(&state, first.data(), first.size());
  crypto_generichash_update(&state, second.data(), second.size());
  crypto_generichash_final(&state, bytes, sizeof bytes);
  std::memcpy(&hash, bytes, sizeof bytes);
  return hash;
}

template <class T>
std::span<const unsigned char> bytes_of(const T* data, size_t count) {
  return {reinterpret_cast<const unsigned char*>(data), count * sizeof(T)};
}

}  // namespace

PrefixIndex::PrefixIndex(int64_t num_blocks, const Key& key)
    : key_(key), entries_(static_cast<size_t>(num_blocks)) {}

PrefixIndex::Key PrefixIndex::random_key() {
  Key key;
  randombytes_buf(key.data(), key.size());
  return key;
}

PrefixHash PrefixIndex::root(std::string_view cache_salt) const {
  return keyed_hash(key_, bytes_of("salt", 4), bytes_of(cache_salt.data(), cache_salt.size()));
}

PrefixHash PrefixIndex::extend(const PrefixHash& prefix, BlockTokens tokens) const {
  return keyed_hash(key_, bytes_of(&prefix, 1), bytes_of(tokens.data(), tokens.size()));
}

std::optional<int32_t> PrefixIndex::find(const PrefixHash& hash, BlockTokens tokens) const {
  const auto found = blocks_.find(hash);
  if (found == blocks_.end()) return std::nullopt;
  const std::optional<Entry>& entry = entries_[static_cast<size_t>(found->second)];
  if (!entry || !std::ranges::equal(entry->tokens, tokens)) return std::nullopt;
  return found->second;
}

bool PrefixIndex::insert(const PrefixHash& hash, BlockTokens tokens, int32_t block) {
  if (!blocks_.try_emplace(hash, block).second) return false;
  Entry& entry = entries_[static_cast<size_t>(block)].emplace();
  entry.hash = hash;
  std::ranges::copy(tokens, entry.tokens.begin());
  return true;
}

std::optional<PrefixHash> PrefixIndex::forget(int32_t block) {
  std::optional<Entry>& entry = entries_[static_cast<size_t>(block)];
  if (!entry) return std::nullopt;
  const PrefixHash hash = entry->hash;
  blocks_.erase(hash);
  entry.reset();
  return hash;
}

}  // namespace tetrad
