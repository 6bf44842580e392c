// A pattern from anywhere. Whatever it is, its automaton ends within the limits; what the automaton
// over bytes accepts decodes to a text that the set holds. The first byte chooses how to match and
// how to encode.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/json.h"
#include "grammar/automaton.h"
#include "text/utf8.h"

namespace {

using namespace tetrad;
using namespace tetrad::grammar;

constexpr AutomatonLimits kLimits{.max_states = 2'000};

void require(bool condition) {
  if (!condition) std::abort();
}

void check_error(const Error& error) {
  require(error.code == ErrorCode::invalid_argument && !error.message.empty());
  require(!find_invalid_utf8(error.message));
}

/// Goes on by bytes that `seed` chooses for a while, then straight to the end.
std::string walk(const ByteDfa& dfa, uint64_t seed) {
  std::string bytes;
  ByteDfa::State state = ByteDfa::kStart;
  for (int steps = 0; !dfa.accepts(state) || (steps < 20 && dfa.goes_on(state)); ++steps) {
    seed = seed * 6364136223846793005 + 1442695040888963407;
    const int32_t left = dfa.min_bytes(state);
    ByteDfa::State next = ByteDfa::kDead;
    for (unsigned i = 0; i < 256; ++i) {
      const auto byte = static_cast<uint8_t>((seed >> 32) + i);
      next = dfa.next(state, byte);
      if (next == ByteDfa::kDead || (steps >= 20 && dfa.min_bytes(next) >= left)) continue;
      bytes += static_cast<char>(byte);
      state = next;
      break;
    }
    require(next != ByteDfa::kDead);
  }
  return bytes;
}

std::string decoded(const std::string& bytes, Encoding encoding) {
  if (encoding == Encoding::utf8) return bytes;
  const auto value = parse_json("\"" + bytes + "\"");
  require(value && value->is_string());
  return std::string(value->get_string());
}

void check_texts(const Automaton& automaton, Encoding encoding) {
  const auto dfa = encode(automaton, encoding, kLimits);
  if (!dfa) return check_error(dfa.error());
  require(dfa->num_states() <= kLimits.max_states);
  require(dfa->empty() == automaton.empty());
  for (uint64_t seed = 0; seed < 8 && !dfa->empty(); ++seed)
    require(automaton.contains(decoded(walk(*dfa, seed), encoding)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view pattern(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr Encoding kEncodings[] = {Encoding::utf8, Encoding::json_string,
                                     Encoding::json_string_any_escapes};
  const RegexMatch match = data[0] % 2 == 0 ? RegexMatch::whole : RegexMatch::search;
  const auto automaton = parse_regex(pattern, match, kLimits);
  if (!automaton) {
    check_error(automaton.error());
    return 0;
  }
  check_texts(*automaton, kEncodings[data[0] / 2 % 3]);
  // What a set holds, some part of which is the whole text, a search finds as well.
  if (match == RegexMatch::whole) {
    const auto found = parse_regex(pattern, RegexMatch::search, kLimits);
    if (!found) return 0;
    const auto missed = automaton->subtract(*found, kLimits);
    require(!missed || missed->empty());
  }
  return 0;
}
