#include <algorithm>
#include <map>

#include "grammar/code_point_dfa.h"
#include "grammar/encode_bytes.h"

namespace tetrad::grammar {
namespace {

/// Labels each combination of sets that holds a text, in the order in which they are found.
class MembershipRule : public ProductRule {
 public:
  explicit MembershipRule(std::span<const Automaton> sets) : sets_(sets) {}

  bool keeps(std::span<const FactorState> alive) const override { return !alive.empty(); }

  int32_t label(std::span<const FactorState> alive) override {
    std::vector<int32_t> members;
    for (const FactorState& item : alive) {
      const CodePointDfa& dfa = sets_[static_cast<size_t>(item.factor)].impl().dfa;
      if (dfa.label(item.state) != CodePointDfa::kNoLabel) members.push_back(item.factor);
    }
    if (members.empty()) return CodePointDfa::kNoLabel;
    const auto [place, added] =
        labels_.try_emplace(std::move(members), static_cast<int32_t>(labels_.size()));
    return place->second;
  }

  std::vector<std::vector<int32_t>> members() const {
    std::vector<std::vector<int32_t>> result(labels_.size());
    for (const auto& [members, label] : labels_)
      result[static_cast<size_t>(label)] = members;
    return result;
  }

 private:
  std::span<const Automaton> sets_;
  std::map<std::vector<int32_t>, int32_t> labels_;
};

}  // namespace

Result<ByteDfa> encode(const Automaton& automaton, Encoding encoding, AutomatonLimits limits) {
  return encode_bytes(automaton.impl().dfa, encoding, "", limits);
}

Result<Classifier> classify(std::span<const Automaton> sets, Encoding encoding,
                            std::string_view suffix, AutomatonLimits limits) {
  std::vector<const CodePointDfa*> factors;
  for (const Automaton& set : sets)
    factors.push_back(&set.impl().dfa);
  MembershipRule rule(sets);
  TETRAD_ASSIGN(const CodePointDfa dfa, product(factors, rule, limits));
  TETRAD_ASSIGN(ByteDfa bytes, encode_bytes(dfa, encoding, suffix, limits));
  return Classifier{std::move(bytes), rule.members()};
}

}  // namespace tetrad::grammar
