#pragma once

// Separates the thinking from the answer in a stream of text (minimax-m2 spec, sections 6.1, 6.2).

#include <string>
#include <string_view>

namespace tetrad {

/// Streaming equals not streaming: the deltas of push() and finish(), put together, depend only on
/// the whole text and not on how it was cut.
///
/// Reasoning loses its leading newlines and its trailing whitespace, content loses the newlines
/// after `</think>`. `<think>` inside reasoning and `</think>` inside content are swallowed;
/// `<minimax:tool_call>` ends the reasoning as `</think>` does. Tool markup is content.
class ReasoningSplitter {
 public:
  /// `starts_in_reasoning`: the prompt ended inside a think block (ChatPrompt has the answer).
  explicit ReasoningSplitter(bool starts_in_reasoning);

  struct Delta {
    std::string reasoning;
    std::string content;
  };

  /// What became certain with this piece. A suffix that may be the beginning of a tag, or
  /// whitespace that may turn out to be trailing, is held back.
  Delta push(std::string_view text);
  /// What was held back and turns out to be text.
  Delta finish();

  bool in_reasoning() const { return in_reasoning_; }

 private:
  void take_tag(std::string_view tag, Delta& delta);
  void emit(std::string_view text, Delta& delta);

  bool in_reasoning_;
  bool skip_newlines_;      // nothing of this part has been emitted yet
  std::string held_;        // may be the beginning of a tag
  std::string whitespace_;  // of the reasoning; emitted once something follows it
};

}  // namespace tetrad
