#pragma once

// Separates the thinking from the answer in a stream of text (minimax-m2 spec, sections 6.1, 6.2).

#include <string>
#include <string_view>

namespace tetrad {

/// Streaming equals not streaming: the deltas of push() and finish(), put together, depend only on
/// the whole text and not on how it was cut.
///
/// Reasoning loses its leading newlines and its trailing whitespace, content loses the newlines
/// after `</think>`. `<think>` inside reasoning and `</think>` inside content are swallowed. A
/// `<minimax:tool_call>` ends the reasoning, too; tool markup is content.
class ReasoningSplitter {
 public:
  /// `starts_in_reasoning`: the prompt ended inside a think block (ChatPrompt has the answer).
  explicit ReasoningSplitter(bool starts_in_reasoning) : in_reasoning_(starts_in_reasoning) {}

  struct Delta {
    std::string reasoning;
    std::string content;
  };

  /// What became certain with this piece. A suffix that may be the beginning of a tag, or
  /// whitespace that may turn out to be trailing, is held back.
  Delta push(std::string_view text);
  /// What was held back and turns out to be text.
  Delta finish();

  /// Whether the next character would be reasoning.
  bool in_reasoning() const { return in_reasoning_; }

 private:
  void pass_tag(std::string_view tag, Delta& delta);
  void write(std::string_view text, Delta& delta);

  bool in_reasoning_;
  /// Newlines are dropped until something else comes.
  bool skips_newlines_ = in_reasoning_;
  /// The beginning of a tag, perhaps.
  std::string held_tag_;
  /// Whitespace of the reasoning that is dropped if nothing follows it.
  std::string held_space_;
};

}  // namespace tetrad
