#pragma once

// Tells thinking, answer and tool calls apart in the text that a MiniMax-M2 model generates
// (minimax-m2 spec, section 6).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/tool_definition.h"

namespace tetrad {

/// A piece of one call.
struct ToolCallDelta {
  int64_t index = 0;                // of the call in the answer: 0, 1, … without gaps
  std::optional<std::string> name;  // with the first piece of a call, and only with it
  std::string arguments;            // JSON text; all pieces of a call make one object
};

/// What became certain with a piece of text.
struct OutputDelta {
  std::string reasoning;
  std::string content;
  std::vector<ToolCallDelta> tool_calls;  // at most one piece for each call

  bool empty() const { return reasoning.empty() && content.empty() && tool_calls.empty(); }
};

/// Where the thinking goes.
enum class ReasoningStyle {
  split,         // it is told apart
  append_think,  // it stays in the content, with a `<think>` in front that the prompt ended with
};

/// How the tags that have tokens of their own are known: <think>, <minimax:tool_call> and what
/// closes them.
enum class TagSource {
  spelling,  // their characters are the tag
  tokens,    // push_tag() brings them; their characters alone are text
};

struct OutputFormat {
  /// The prompt ended inside a think block (ChatPrompt has the answer).
  bool starts_in_reasoning = false;
  ReasoningStyle reasoning = ReasoningStyle::split;
  /// Tools that may be called; null or none: tool markup is content.
  ToolDefinitions tools;
  /// False: calls after the first are dropped.
  bool parallel_tool_calls = true;
  TagSource tags = TagSource::spelling;
};

/// Streaming equals not streaming: the deltas of push() and finish(), put together, depend only on
/// the whole text and not on how it was cut. The time is linear in the text; what is kept of it is
/// the unfinished value, or the block that has no call yet.
///
/// Reasoning loses its leading newlines and its trailing whitespace, content loses the newlines
/// after `</think>`. `<think>` inside reasoning and `</think>` inside content are swallowed. A
/// `<minimax:tool_call>` ends the reasoning, too.
///
/// Calls, if there are tools:
///  - They stand in `<minimax:tool_call>` blocks, or bare in the content if their name is known.
///  - A call of an unknown function is dropped. A block none of whose calls is left is content, as
///    it is written; so nothing of an answer is lost without a trace.
///  - Newlines between content and a call, and content of whitespace alone beside one, are dropped.
///  - A value ends at the first `</parameter>` that is followed, after whitespace, by another tag
///    of the call or the end; without one, at the next such tag. It loses the newlines around it.
///  - Values become JSON as argument_json() says. Text, which is not looked into, is passed on as
///    it comes, other values when they are complete.
///  - A parameter that comes again is dropped: what was sent of the first cannot be taken back.
///  - A call that the end of the text cuts off is closed: text keeps what there is of it, another
///    unfinished value is left out.
///
/// With ReasoningStyle::append_think nothing is trimmed or swallowed but whitespace beside calls.
class OutputParser {
 public:
  explicit OutputParser(OutputFormat format);
  ~OutputParser();
  OutputParser(OutputParser&&) noexcept;
  OutputParser& operator=(OutputParser&&) noexcept;

  /// `text`: whole UTF-8 characters. What may turn out to be the beginning of a tag, or trailing
  /// whitespace, is held back.
  OutputDelta push(std::string_view text);
  /// The text of a token that is a tag.
  OutputDelta push_tag(std::string_view tag);
  /// The text is at its end: what was held back, and what closes an unfinished call.
  OutputDelta finish();

  /// Whether the next character would be reasoning.
  bool in_reasoning() const;
  /// Calls that have begun.
  int64_t num_tool_calls() const;
  /// After finish(): whether one of them is whole, but perhaps for its closing tag.
  bool has_complete_tool_call() const;
  /// Calls of functions that are not among the tools.
  int64_t num_unknown_calls() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tetrad
