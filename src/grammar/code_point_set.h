#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace tetrad::grammar {

constexpr char32_t kFirstSurrogate = 0xD800;
constexpr char32_t kLastSurrogate = 0xDFFF;
constexpr char32_t kLastCodePoint = 0x10FFFF;

/// Both ends are in it.
struct CodePointRange {
  char32_t low;
  char32_t high;

  bool operator==(const CodePointRange&) const = default;
};

/// A set of Unicode scalar values: code points but surrogates.
class CodePointSet {
 public:
  CodePointSet() = default;
  /// In any order, overlapping or not; surrogates are left out.
  explicit CodePointSet(std::vector<CodePointRange> ranges);
  static CodePointSet all() { return CodePointSet({{0, kLastCodePoint}}); }

  /// Ascending, with a gap between each two.
  std::span<const CodePointRange> ranges() const& { return ranges_; }
  std::span<const CodePointRange> ranges() && = delete;  // they would be gone
  bool empty() const { return ranges_.empty(); }
  bool contains(char32_t code_point) const;
  CodePointSet complement() const;

  bool operator==(const CodePointSet&) const = default;

 private:
  std::vector<CodePointRange> ranges_;
};

/// What one of the names of \p{…} means; none: the name is not known. Known are the values of
/// General_Category, in short and long form, alone or behind "gc=" or "General_Category=", and Any,
/// ASCII, Assigned and White_Space.
std::optional<CodePointSet> unicode_property(std::string_view name);

/// ECMA-262's \d, \w (ASCII alone) and \s (all of Unicode).
CodePointSet digit_characters();
CodePointSet word_characters();
CodePointSet space_characters();
/// What ends a line: not matched by a dot.
CodePointSet line_terminators();

/// The character at `at` of valid UTF-8, behind which `at` is moved.
char32_t next_code_point(std::string_view text, size_t& at);

}  // namespace tetrad::grammar
