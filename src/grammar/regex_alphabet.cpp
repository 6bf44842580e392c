#include "grammar/regex_alphabet.h"

#include <algorithm>
#include <map>

namespace tetrad::grammar {
namespace {

/// Sets times the pieces they are made of.
constexpr size_t kMaxPiecesOfSets = 4'000'000;

}  // namespace

Result<RegexAlphabet> make_alphabet(std::span<const CodePointSet> sets) {
  std::vector<char32_t> starts;
  for (const CodePointSet& set : sets) {
    for (const CodePointRange& range : set.ranges()) {
      starts.push_back(range.low);
      starts.push_back(range.high + 1);
    }
  }
  std::ranges::sort(starts);
  starts.erase(std::ranges::unique(starts).begin(), starts.end());

  std::vector<std::vector<int32_t>> sets_of(starts.size());  // [piece]: the sets it is in
  size_t total = 0;
  for (size_t set = 0; set < sets.size(); ++set) {
    for (const CodePointRange& range : sets[set].ranges()) {
      const auto first = std::ranges::lower_bound(starts, range.low);
      for (auto at = first; at != starts.end() && *at <= range.high; ++at, ++total)
        sets_of[static_cast<size_t>(at - starts.begin())].push_back(static_cast<int32_t>(set));
      if (total > kMaxPiecesOfSets) {
        return fail(ErrorCode::invalid_argument,
                    "the pattern has too many different characters and classes; simplify it");
      }
    }
  }

  RegexAlphabet alphabet;
  alphabet.classes_of.resize(sets.size());
  std::map<std::vector<int32_t>, int32_t> classes;
  for (size_t piece = 0; piece + 1 < starts.size(); ++piece) {
    if (sets_of[piece].empty()) continue;
    const auto next = static_cast<int32_t>(classes.size());
    const auto [place, added] = classes.try_emplace(std::move(sets_of[piece]), next);
    alphabet.pieces.push_back({{starts[piece], starts[piece + 1] - 1}, place->second});
    if (!added) continue;
    for (const int32_t set : place->first)
      alphabet.classes_of[static_cast<size_t>(set)].push_back(next);
  }
  alphabet.num_classes = classes.size();
  return alphabet;
}

}  // namespace tetrad::grammar
