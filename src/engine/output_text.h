#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace tetrad {

/// The text of one answer as it grows: decodes tokens and watches for stop strings. Text that may
/// still turn out to be the beginning of a stop string is held back until it is certain.
///
/// Of several stop strings the one that is complete first counts, and of those that end together
/// the longest: a choice that does not depend on how the text was cut into tokens.
class OutputText {
 public:
  /// `stop`: no empty strings.
  OutputText(const Tokenizer& tokenizer, std::vector<std::string> stop, bool skip_special_tokens);

  struct Step {
    std::string text;
    std::optional<std::string> stopped_by;  // the stop string found; `text` ends before it
  };
  /// `may_stop` false: the text up to here counts as no stop string, nor as the beginning of one.
  Step push(TokenId id, bool may_stop = true);
  /// The held-back rest. It may complete a stop string no more than push() would have seen.
  Step finish();

 private:
  Step release(bool at_end);

  StreamingDecoder decoder_;
  std::vector<std::string> stop_;
  std::string held_;
};

}  // namespace tetrad
