// A chat template and the context it is rendered with, both from outside: the input is the template
// source, a zero byte, and a JSON object. Whatever they say, rendering ends within its limits.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/json.h"
#include "chat/template.h"

namespace {

constexpr tetrad::TemplateLimits kLimits{20'000, 100, 1 << 16};

tetrad::json::object read_context(std::string_view text) {
  const auto parsed = tetrad::parse_json(text);
  if (!parsed || !parsed->is_object()) return {};
  return parsed->get_object();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), input.size());
  const auto compiled = tetrad::ChatTemplate::compile(input.substr(0, end), kLimits);
  if (!compiled) {
    if (compiled.error().message.empty()) std::abort();
    return 0;
  }
  const auto context = read_context(input.substr(std::min(end + 1, input.size())));
  const auto rendered = compiled->render(context, std::chrono::system_clock::time_point());
  if (rendered && rendered->size() > kLimits.max_output_bytes) std::abort();
  return 0;
}
