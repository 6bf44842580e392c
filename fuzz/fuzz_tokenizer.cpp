// tokenizer.json from outside: whatever it says, it is refused with an error or it makes a
// tokenizer that loses no text.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/json.h"
#include "text/tokenizer.h"

namespace {

constexpr std::string_view kText =
    "]~b]user\nThe na\u00EFve 1234's  x=\"y\";\r\n\u65E5\u672C \U0001F600 <a>b ";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = tetrad::parse_json({reinterpret_cast<const char*>(data), size});
  if (!file) return 0;
  const auto tokenizer = tetrad::Tokenizer::from_json(*file);
  if (!tokenizer) return 0;
  const auto plain = tokenizer->encode(kText, tetrad::SpecialTokens::ignore);
  if (!plain || tokenizer->decode(*plain, false) != kText) std::abort();
  const auto parsed = tokenizer->encode(kText, tetrad::SpecialTokens::parse);
  if (!parsed) std::abort();
  for (const bool skip : {false, true}) {
    tetrad::StreamingDecoder stream(*tokenizer, skip);
    std::string streamed;
    for (const tetrad::TokenId id : *parsed)
      streamed += stream.push(id);
    if (streamed + stream.finish() != tokenizer->decode(*parsed, skip)) std::abort();
  }
  return 0;
}
