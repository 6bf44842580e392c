#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"
#include "text/tokenizer.h"

namespace tetrad {

/// The text of one answer as it grows: decodes tokens and watches for stop strings. Text that may
/// still turn out to be the beginning of a stop string is held back until it is certain.
///
/// Of several stop strings the one that is complete first counts, and of those that end together
/// the longest: a choice that does not depend on how the text was cut into tokens.
class OutputText {
 public:
  /// `stop`: no empty strings. `include_stop`: the text ends behind the stop string, not before it.
  OutputText(const Tokenizer& tokenizer, std::vector<std::string> stop, bool skip_special_tokens,
             bool include_stop = false);

  struct Step {
    std::string text;
    std::vector<TextSpan> tags;             // of `text`: see GenerationEvent
    std::optional<std::string> stopped_by;  // the stop string found, where `text` ends
  };
  /// `may_stop` false: a stop string that ends in the text up to here is text like any other.
  Step push(TokenId id, bool may_stop = true);
  /// The held-back rest. It may complete a stop string no more than push() would have seen.
  Step finish();

 private:
  struct FoundStop {
    size_t begin = std::string::npos;
    size_t end = std::string::npos;
  };
  FoundStop find_stop() const;
  Step release(bool at_end);
  /// The first `size` bytes of held_, which stay there, and the tags in them.
  Step beginning(size_t size) const;

  const Tokenizer& tokenizer_;
  StreamingDecoder decoder_;
  std::vector<std::string> stop_;
  bool include_stop_;
  std::string held_;
  std::vector<TextSpan> tags_;  // in held_
  size_t num_exempt_ = 0;  // bytes of held_ that no stop string may end in: they came too early
};

}  // namespace tetrad
