#pragma once

// An output put together from an OutputParser's deltas, and what must hold of any.

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "chat/output_parser.h"

namespace tetrad {

struct ParsedOutputForTests {
  struct Call {
    std::string name;
    std::string arguments;
    bool operator==(const Call&) const = default;
  };

  std::string reasoning;
  std::string content;
  std::vector<Call> calls;
  bool has_complete_call = false;
  /// The first rule of OpenAI's streams that a delta broke; "": none.
  std::string fault;

  bool operator==(const ParsedOutputForTests&) const = default;

  void add(const OutputDelta& delta) {
    reasoning += delta.reasoning;
    content += delta.content;
    int64_t last = -1;
    for (const ToolCallDelta& piece : delta.tool_calls) {
      if (piece.index <= last) fail("two pieces of one call in a delta, or out of order");
      last = piece.index;
      add(piece);
    }
  }

  /// After finish().
  void check(const OutputParser& parser) {
    has_complete_call = parser.has_complete_tool_call();
    if (parser.num_tool_calls() != static_cast<int64_t>(calls.size())) fail("num_tool_calls()");
    if (has_complete_call && calls.empty()) fail("a complete call, but none");
    for (const Call& call : calls) {
      const auto parsed = parse_json(call.arguments);
      if (!parsed || !parsed->is_object()) fail("arguments are no JSON object: " + call.arguments);
    }
  }

 private:
  void add(const ToolCallDelta& piece) {
    if (piece.name) {
      if (piece.index != static_cast<int64_t>(calls.size())) return fail("indices have gaps");
      if (piece.name->empty()) fail("an empty name");
      calls.push_back({*piece.name, piece.arguments});
      return;
    }
    // A call is over when the next one begins.
    if (piece.index + 1 != static_cast<int64_t>(calls.size())) return fail("a piece of no call");
    if (piece.arguments.empty()) fail("a piece of nothing");
    calls.back().arguments += piece.arguments;
  }
  void fail(std::string what) {
    if (fault.empty()) fault = std::move(what);
  }
};

inline void PrintTo(const ParsedOutputForTests& output, std::ostream* out) {
  *out << fmt::format("reasoning {:?}, content {:?}", output.reasoning, output.content);
  for (const auto& call : output.calls)
    *out << fmt::format(", {}({})", call.name, call.arguments);
  *out << (output.has_complete_call ? ", complete" : "") << ", fault \"" << output.fault << '"';
}

inline ParsedOutputForTests parse_pieces_for_tests(const OutputFormat& format,
                                                   const std::vector<std::string_view>& pieces) {
  OutputParser parser(format);
  ParsedOutputForTests output;
  for (const std::string_view piece : pieces)
    output.add(parser.push(piece));
  output.add(parser.finish());
  output.check(parser);
  return output;
}

/// The characters of valid UTF-8.
inline std::vector<std::string_view> characters_for_tests(std::string_view text) {
  std::vector<std::string_view> characters;
  while (!text.empty()) {
    size_t length = 1;
    while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xC0U) == 0x80U)
      ++length;
    characters.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return characters;
}

}  // namespace tetrad
