#pragma once

// The nodes that every JSON text is made of, and automata over bytes.

#include <memory>
#include <optional>
#include <string_view>

#include "grammar/automaton.h"
#include "grammar/grammar.h"

namespace tetrad::grammar {

/// White space is allowed, but not without end: behind an opening bracket or a comma and before a
/// closing bracket one space, or a line end with up to 40 spaces and tabs; one space behind a
/// colon.
struct JsonSyntax {
  NodeId object_open;
  NodeId object_close;
  NodeId array_open;
  NodeId array_close;
  NodeId comma;
  NodeId colon;
  NodeId quote;
  NodeId nothing;                           // the empty text
  NodeId character;                         // of a string; may be escaped
  NodeId free_string;                       // with its quotes; any escapes
  std::shared_ptr<const ByteDfa> free_key;  // as a free string, labelled 0
  /// Texts without `forbidden`; none: nothing is.
  std::optional<Automaton> allowed;

  /// `forbidden`: a regular expression of what no string may contain as it is written, such as the
  /// tags that end the JSON text; all of it begins with `<`, which characters() then stand for by
  /// escapes only.
  static Result<JsonSyntax> create(Builder& builder, std::string_view forbidden = {});
};

/// The automaton of a regular expression over the bytes of UTF-8.
Result<std::shared_ptr<const ByteDfa>> bytes_of_regex(std::string_view regex,
                                                      AutomatonLimits limits);

/// The texts that nothing of the regular expression `forbidden` occurs in.
Result<Automaton> texts_without(std::string_view forbidden, AutomatonLimits limits);

/// The texts of `dfa` with `prefix` in front of them; not of an empty one.
ByteDfa with_prefix(std::string_view prefix, const ByteDfa& dfa);

}  // namespace tetrad::grammar
