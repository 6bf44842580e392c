#pragma once

// The regular expressions that cut text into the pieces byte-pair encoding works on, run by PCRE2.
//
// Only expressions of a known list are compiled: an arbitrary one from a model's file could take
// exponential time, or mean something else to PCRE2 than to the engine its author used. Every
// known expression takes time linear in the text for any text.
//
// PCRE2 10.42 has the character properties of Unicode 14; a character assigned later counts as
// neither letter nor number.

#include <memory>
#include <string_view>
#include <vector>

#include "base/error.h"

// What PCRE2 calls its compiled pattern; its header needs a macro set and stays in the .cpp.
struct pcre2_real_code_8;

namespace tetrad {

class SplitPattern {
 public:
  /// An expression that is not on the list is refused as unsupported.
  static Result<SplitPattern> compile(std::string_view expression);

  /// The expression that a ByteLevel pre-tokenizer with use_regex applies.
  static std::string_view gpt2_expression();

  /// Appends to `pieces`, in order, every match in `text` and every stretch between matches:
  /// together they are the text. `text` must be well-formed UTF-8.
  Result<void> split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  struct FreeCode {
    void operator()(pcre2_real_code_8* code) const;
  };
  using Code = std::unique_ptr<pcre2_real_code_8, FreeCode>;
  explicit SplitPattern(Code code) : code_(std::move(code)) {}

  Code code_;
};

}  // namespace tetrad
