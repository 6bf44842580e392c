#pragma once

// Regular sets of texts, as deterministic automata over Unicode code points.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "grammar/byte_dfa.h"

namespace tetrad::grammar {

/// How large automata may become; beyond, an operation is ErrorCode::invalid_argument with a text
/// that says so.
struct AutomatonLimits {
  size_t max_states = 20'000;
};

/// A set of texts. Texts are sequences of Unicode scalar values: code points but surrogates.
/// Immutable; copies share.
class Automaton {
 public:
  static Automaton none();
  static Automaton any();  // every text
  /// `text`: valid UTF-8.
  static Automaton literal(std::string_view text);
  static Automaton any_of(std::span<const std::string_view> texts);
  /// Texts of min to max code points; no max: as long as they like.
  static Result<Automaton> length(int64_t min, std::optional<int64_t> max, AutomatonLimits limits);

  Result<Automaton> intersect(const Automaton& other, AutomatonLimits limits) const;
  Result<Automaton> unite(const Automaton& other, AutomatonLimits limits) const;
  /// Texts of this set that are not in the other.
  Result<Automaton> subtract(const Automaton& other, AutomatonLimits limits) const;

  bool empty() const;
  bool contains(std::string_view text) const;

  struct Impl;
  explicit Automaton(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

/// What a pattern has to match.
enum class RegexMatch {
  whole,   // the text from its beginning to its end
  search,  // some part of it, as JSON Schema's "pattern" (ECMA-262)
};

/// A regular expression in the syntax that ECMA-262 (flag u) and Python's re share. What is not
/// regular (back references, look-around) or not known is ErrorCode::invalid_argument, with the
/// offset. Iterative: nesting and sizes are bounded by the limits and by kMaxPatternBytes.
Result<Automaton> parse_regex(std::string_view pattern, RegexMatch match, AutomatonLimits limits);

/// How a text is written down.
enum class Encoding {
  utf8,         // as it is
  json_string,  // between the quotes of a JSON string; what need not be escaped is not
  /// As json_string, but every character may be escaped, by \u too (in upper and lower case, but
  /// for surrogates): for texts about which nothing else is known.
  json_string_any_escapes,
};

/// The automaton over the bytes of its texts, all accepting states labelled 0. Bytes follow UTF-8,
/// so that no character is left incomplete.
Result<ByteDfa> encode(const Automaton& automaton, Encoding encoding, AutomatonLimits limits);

/// One automaton that tells in which of several sets a text is.
struct Classifier {
  ByteDfa dfa;
  /// For each label, in ascending order, the sets that hold the texts accepted with it.
  std::vector<std::vector<int32_t>> members;
};

/// Recognises what at least one of `sets` holds. `suffix`: bytes that end each text and occur in
/// no encoded one, such as the closing quote; part of what is recognised.
Result<Classifier> classify(std::span<const Automaton> sets, Encoding encoding,
                            std::string_view suffix, AutomatonLimits limits);

}  // namespace tetrad::grammar
