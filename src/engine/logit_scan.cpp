#include "engine/logit_scan.h"

#include <limits>

namespace tetrad {

bool LogitScan::read(std::span<const float> logits) {
  logits_ = logits;
  maxima_.resize((logits.size() + kVocabularyBlock - 1) / kVocabularyBlock);
  const bool finite = vocabulary_scan().block_maxima(
      logits.data(), static_cast<int64_t>(logits.size()), maxima_.data());
  largest_ = *std::ranges::max_element(maxima_);
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
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  if (count < 1 || count > std::ssize(maxima_)) return kLowest;
  // As many blocks have such a token each.
  sorted_.clear();
  for (const float maximum : maxima_)
    sorted_.emplace_back(maximum, 0);
  const auto last = sorted_.begin() + static_cast<ptrdiff_t>(count - 1);
  std::nth_element(sorted_.begin(), last, sorted_.end());
  return std::max(last->logit(), kLowest);
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

void keep_first(std::vector<TokenKey>& keys, int64_t count) {
  if (count >= std::ssize(keys)) return;
  const auto end = keys.begin() + static_cast<ptrdiff_t>(count);
  std::nth_element(keys.begin(), end, keys.end());
  keys.erase(end, keys.end());
  std::ranges::sort(keys);
}

}  // namespace tetrad
