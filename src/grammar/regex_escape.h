#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "base/error.h"
#include "grammar/code_point_set.h"

namespace tetrad::grammar {

/// A position in a pattern, moved by what reads from it.
class PatternCursor {
 public:
  explicit PatternCursor(std::string_view pattern) : pattern_(pattern) {}

  bool done() const { return at_ == pattern_.size(); }
  size_t offset() const { return at_; }
  /// The byte at the position; '\0' behind the end.
  char peek() const { return done() ? '\0' : pattern_[at_]; }
  bool starts_with(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  /// Moves behind `text` if it comes next.
  bool take(std::string_view text);
  /// The next character. Not to be called at the end.
  char32_t next() { return next_code_point(pattern_, at_); }
  /// Up to `delimiter`, and behind it; none: it does not come.
  std::optional<std::string_view> take_until(char delimiter);
  /// The number of up to nine digits that comes next; none: there is none, or a longer one.
  std::optional<int64_t> take_number();
  /// Exactly `digits` hexadecimal digits.
  std::optional<char32_t> take_hex(int digits);
  void move_to(size_t offset) { at_ = offset; }

 private:
  std::string_view pattern_;
  size_t at_ = 0;
};

/// An error in a pattern.
tl::unexpected<Error> bad_pattern(size_t offset, std::string_view what);

/// What an escape stands for.
enum class RegexAssertion { begin, end };
using RegexEscape = std::variant<char32_t, CodePointSet, RegexAssertion>;

/// Reads what follows a backslash.
Result<RegexEscape> read_escape(PatternCursor& cursor, bool in_class);

}  // namespace tetrad::grammar
