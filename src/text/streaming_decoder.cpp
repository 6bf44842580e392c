#include "text/tokenizer.h"
#include "text/utf8.h"

namespace tetrad {

StreamingDecoder::StreamingDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}

std::string StreamingDecoder::push(TokenId id) {
  std::string text;
  if (skip_special_tokens_ && tokenizer_->is_special(id)) return text;
  pending_ += tokenizer_->token_bytes(id);
  pending_.erase(0, append_complete_utf8(pending_, text));
  return text;
}

std::string StreamingDecoder::finish() {
  std::string text;
  append_lossy_utf8(pending_, text);
  pending_.clear();
  return text;
}

}  // namespace tetrad
