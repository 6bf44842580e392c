#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tetrad {

/// Says which modules are meant, as the `ignore` lists of compressed-tensors do: "re:<expression>"
/// is a regular expression (PCRE2) that must match from the beginning of a name and may end before
/// its end, anything else a name of the shell's kind, whose "*", "?" and "[…]" also match dots, and
/// which must match a whole name.
class NamePattern {
 public:
  /// Errors: an expression that cannot be compiled.
  static Result<NamePattern> parse(std::string_view text);

  NamePattern(NamePattern&& other) noexcept;
  NamePattern& operator=(NamePattern&& other) noexcept;
  NamePattern(const NamePattern&) = delete;
  NamePattern& operator=(const NamePattern&) = delete;
  ~NamePattern();

  /// Errors: an expression that takes too long.
  Result<bool> matches(const std::string& name) const;
  const std::string& text() const { return text_; }

 private:
  struct Regex;
  NamePattern(std::string text, std::unique_ptr<Regex> regex);

  std::string text_;
  std::unique_ptr<Regex> regex_;  // none for a shell pattern
};

}  // namespace tetrad
