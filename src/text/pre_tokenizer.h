#pragma once

#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "text/split_pattern.h"

namespace tetrad {

/// Cuts text into the pieces that byte-pair encoding never joins: the "pre_tokenizer" of a
/// tokenizer.json. Understood are any number of Split (a known expression, behaviour Isolated)
/// with a ByteLevel at the end; everything else is refused.
class PreTokenizer {
 public:
  static Result<PreTokenizer> from_json(const json::value& pre_tokenizer);

  /// The pieces of well-formed UTF-8, in order: together they are the text.
  Result<std::vector<std::string_view>> split(std::string_view text) const;

 private:
  /// Applied one after the other, each to the pieces of the one before.
  std::vector<SplitPattern> patterns_;
};

}  // namespace tetrad
