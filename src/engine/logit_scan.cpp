#include "engine/logit_scan.h"

#include <array>
#include <limits>
#include <numeric>

namespace tetrad {
namespace {

constexpr float kLowest = std::numeric_limits<float>::lowest();

/// Returns if all are finite.
bool block_maxima(std::span<const float> values, std::vector<float>& maxima) {
  maxima.resize((values.size() + kVocabularyBlock - 1) / kVocabularyBlock);
  return vocabulary_scan().block_maxima(values.data(), std::ssize(values), maxima.data());
}

}  // namespace

bool LogitScan::read(std::span<const float> logits) {
  logits_ = logits;
  const bool finite = block_maxima(logits, maxima_);
  block_maxima(maxima_, maxima_of_blocks_);
  largest_ = *std::ranges::max_element(maxima_of_blocks_);
  return finite;
}

TokenId LogitScan::best() const {
  const auto block = static_cast<size_t>(std::ranges::find(maxima_, largest_) - maxima_.begin());
  const size_t begin = std::min(block * kVocabularyBlock, logits_.size());
  const auto place =
      std::find(logits_.begin() + static_cast<ptrdiff_t>(begin), logits_.end(), largest_);
  return static_cast<TokenId>(place - logits_.begin());
}

float LogitScan::bound_of(int64_t count) {
  // As many blocks have a token each that is no less than the last of their maxima.
  return nth_largest(maxima_, count, nth_largest(maxima_of_blocks_, count, kLowest));
}

/// The last of the `count` largest, all of which are `lowest` or more if there are so many.
float LogitScan::nth_largest(std::span<const float> values, int64_t count, float lowest) {
  if (count < 1 || count > std::ssize(values)) return lowest;
  sorted_.clear();
  for (const float value : values) {
    if (value >= lowest) sorted_.emplace_back(value, 0);
  }
  if (count > std::ssize(sorted_)) return lowest;
  const auto last = sorted_.begin() + static_cast<ptrdiff_t>(count - 1);
  std::nth_element(sorted_.begin(), last, sorted_.end());
  return last->logit();
}

void LogitScan::collect(float bound, std::vector<TokenKey>& keys) const {
  for (size_t block = 0; block < maxima_.size(); ++block) {
    if (!(maxima_[block] >= bound)) continue;
    const size_t end = std::min((block + 1) * kVocabularyBlock, logits_.size());
    for (size_t i = block * kVocabularyBlock; i < end; ++i) {
      if (logits_[i] >= bound) keys.emplace_back(logits_[i], static_cast<TokenId>(i));
    }
  }
}

void sort_keys(std::vector<TokenKey>& keys) {
  // From so many on it is faster to deal them out by 11 bits, the lowest first, and three times.
  constexpr size_t kMany = 4096;
  constexpr int kDigitBits = 11;
  constexpr uint32_t kMask = (1 << kDigitBits) - 1;
  if (keys.size() < kMany) {
    std::ranges::sort(keys);
    return;
  }
  std::vector<TokenKey> dealt(keys.size());
  for (int shift = 0; shift < 32; shift += kDigitBits) {
    std::array<size_t, kMask + 1> place{};
    for (const TokenKey& key : keys)
      ++place[key.rank() >> shift & kMask];
    std::exclusive_scan(place.begin(), place.end(), place.begin(), size_t{0});
    for (const TokenKey& key : keys)
      dealt[place[key.rank() >> shift & kMask]++] = key;
    keys.swap(dealt);
  }
}

void keep_first(std::vector<TokenKey>& keys, int64_t count) {
  if (count >= std::ssize(keys)) return;
  const auto end = keys.begin() + static_cast<ptrdiff_t>(count);
  std::nth_element(keys.begin(), end, keys.end());
  keys.erase(end, keys.end());
  std::ranges::sort(keys);
}

}  // namespace tetrad
