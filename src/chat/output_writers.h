#pragma once

// Where an OutputParser puts the text that is no markup.

#include <string>
#include <string_view>

namespace tetrad {

/// Drops leading newlines and trailing whitespace.
class ReasoningWriter {
 public:
  void write(std::string_view text, std::string& reasoning);
  /// The reasoning is over.
  void end() { held_.clear(); }

 private:
  bool skips_newlines_ = true;
  std::string held_;  // whitespace that is dropped if nothing follows it
};

/// Drops newlines in front of calls, and whitespace alone beside them.
class ContentWriter {
 public:
  /// `calls_may_follow`: else nothing has to be held back.
  explicit ContentWriter(bool calls_may_follow) : calls_may_follow_(calls_may_follow) {}

  void write(std::string_view text, std::string& content);
  /// Newlines that come next are dropped.
  void skip_newlines() { skips_newlines_ = true; }
  /// A call stands here.
  void pass_call();
  /// The text is at its end.
  void end(std::string& content);

  /// Nothing but whitespace since the last call.
  bool blank_after_call() const { return after_call_ && blank_; }

 private:
  bool calls_may_follow_;
  bool skips_newlines_ = false;
  bool after_call_ = false;
  bool blank_ = true;  // nothing but whitespace since the beginning or the last call
  std::string held_;   // whitespace that is dropped in front of a call
};

}  // namespace tetrad
