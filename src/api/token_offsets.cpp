#include "api/token_offsets.h"

#include <algorithm>

namespace tetrad::api {
namespace {

bool begins_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0u) != 0x80u;
}

}  // namespace

int64_t TokenOffsets::next(TokenId id, bool shown) {
  const std::string_view bytes = tokenizer_->token_bytes(id);
  const bool continues = !bytes.empty() && !begins_character(bytes.front());
  const int64_t offset = continues ? std::max<int64_t>(0, num_begun_ - 1) : num_begun_;
  if (shown) num_begun_ += std::ranges::count_if(bytes, begins_character);
  return offset;
}

}  // namespace tetrad::api
