// A grammar in EBNF notation, from a request. What compiles is followed for a while: from
// everywhere there is a way to the end, as long as it is said to be.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "grammar/ebnf.h"
#include "grammar/matcher.h"

namespace {

using namespace tetrad::grammar;

constexpr EbnfLimits kLimits{
    .max_bytes = 4096, .max_depth = 50, .max_repetitions = 1000, .automata = {.max_states = 500}};

/// The first byte, from `from` on, that brings the end nearer.
bool step_nearer(Matcher& matcher, unsigned from) {
  const int64_t before = matcher.min_bytes();
  for (unsigned i = 0; i < 256; ++i) {
    const char byte = static_cast<char>((from + i) % 256);
    Matcher next = matcher;
    if (!next.accept(std::string_view(&byte, 1)) || next.min_bytes() >= before) continue;
    if (next.min_bytes() != before - 1) std::abort();
    matcher = std::move(next);
    return true;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Builder builder({.max_nodes = 5'000});
  const auto root = add_ebnf(builder, text, kLimits);
  if (!root) {
    if (root.error().message.empty()) std::abort();
    return 0;
  }
  const auto grammar = std::move(builder).finish(*root);
  if (!grammar) return 0;
  Matcher matcher(*grammar);
  for (size_t i = 0; i < size && i < 16; ++i)
    matcher.accept(text.substr(i, 1));
  for (int i = 0; i < 16 && matcher.min_bytes() > 0; ++i) {
    if (!step_nearer(matcher, data[i % size])) std::abort();
  }
  if (matcher.can_end() != (matcher.min_bytes() == 0)) std::abort();
  return 0;
}
