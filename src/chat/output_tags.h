#pragma once

// The tags of generated text (minimax-m2 spec, sections 6.1 and 6.3).

#include <cstdint>
#include <string>
#include <string_view>

namespace tetrad {

enum class OutputTag : uint8_t {
  think_open,       // <think>
  think_close,      // </think>
  block_open,       // <minimax:tool_call>
  block_close,      // </minimax:tool_call>
  invoke_open,      // <invoke name="f">
  invoke_close,     // </invoke>
  parameter_open,   // <parameter name="a">
  parameter_close,  // </parameter>
};

/// A set of tags.
class OutputTags {
 public:
  template <class... Tags>
  explicit constexpr OutputTags(Tags... tags) : bits_((0U | ... | bit(tags))) {}
  constexpr bool contains(OutputTag tag) const { return (bits_ & bit(tag)) != 0; }
  constexpr OutputTags with(OutputTag tag) const {
    OutputTags more = *this;
    more.bits_ |= bit(tag);
    return more;
  }
  constexpr OutputTags without(OutputTags others) const {
    OutputTags fewer = *this;
    fewer.bits_ &= ~others.bits_;
    return fewer;
  }

 private:
  static constexpr unsigned bit(OutputTag tag) { return 1U << static_cast<unsigned>(tag); }

  unsigned bits_;
};

/// Finds tags in text that comes in pieces. Every tag begins with `<` and has none inside, so what
/// turns out not to be a tag is text up to the next `<`, and nothing is read twice.
///
/// Names stand in double or single quotes or in none, with optional blanks around them; what
/// follows a quoted name inside its tag is ignored. A tag's name has neither `<`, `>` nor a line
/// break, and the tag at most kMaxTagBytes bytes: a longer one is text.
class OutputTagReader {
 public:
  static constexpr size_t kMaxTagBytes = 1024;

  enum class Found {
    text,     // text()
    tag,      // tag(), name(), and its spelling in text()
    nothing,  // the piece is used up; held() may have the beginning of a tag
  };

  /// Takes what comes next off the front of `rest`, looking for `tags` only. The set may change
  /// after a tag and after text, but not after `nothing`.
  Found next(std::string_view& rest, OutputTags tags);

  OutputTag tag() const { return tag_; }
  /// Of invoke_open and parameter_open.
  std::string_view name() const { return name_; }
  /// Valid until the next call, and as long as the piece is.
  std::string_view text() const { return text_; }

  /// The beginning of a tag that is not complete.
  std::string_view held() const { return held_; }
  /// Forgets it.
  void drop_held() { held_.clear(); }

 private:
  enum class Step { goes_on, complete, no_tag };

  Step step(char c, OutputTags tags);
  Step step_literal(char c, OutputTags tags);
  Step step_name(char c);

  /// Where in a tag with a name the reader is.
  enum class Part { literal, blank, attribute, equals, name };

  std::string held_;
  std::string done_;  // what text() shows, if it was held
  std::string_view text_;
  std::string_view name_;
  OutputTag tag_ = OutputTag::think_open;
  Part part_ = Part::literal;
  size_t attribute_at_ = 0;  // offset of `name` in held_
  size_t name_at_ = 0;       // offset of what follows `=`
};

}  // namespace tetrad
