#include "engine/ngram_drafts.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/json.h"

namespace tetrad {
namespace {

constexpr int64_t kMaxSpeculativeTokens = 64;
constexpr int64_t kMaxLookup = 64;

Result<void> read_count(const json::object& config, std::string_view name, int64_t max,
                        int64_t& count) {
  const json::value* value = config.if_contains(name);
  if (value == nullptr) return {};
  if (!value->is_int64() || value->get_int64() < 1 || value->get_int64() > max) {
    return fail_param("--speculative-config", "\"{}\" must be a whole number from 1 to {}, not {}",
                      name, max, to_json_text(*value));
  }
  count = value->get_int64();
  return {};
}

}  // namespace

Result<NgramOptions> parse_speculative_config(std::string_view text) {
  const auto parsed = parse_json(text);
  if (!parsed || !parsed->is_object()) {
    return fail_param("--speculative-config",
                      "expected a JSON object such as {{\"method\": \"ngram\", "
                      "\"num_speculative_tokens\": 5}}{}",
                      parsed ? "" : ": " + parsed.error().message);
  }
  const json::object& config = parsed->get_object();
  constexpr std::array<std::string_view, 4> kKnown{"method", "num_speculative_tokens",
                                                   "prompt_lookup_min", "prompt_lookup_max"};
  for (const auto& field : config) {
    if (std::ranges::find(kKnown, std::string_view(field.key())) == kKnown.end()) {
      return fail_param("--speculative-config", "unknown field \"{}\"; known are {}",
                        std::string_view(field.key()), fmt::join(kKnown, ", "));
    }
  }
  const json::value* method = config.if_contains("method");
  if (method == nullptr || *method != "ngram") {
    return fail_param("--speculative-config",
                      "\"method\" must be \"ngram\", the one that needs no second model");
  }
  NgramOptions options{.num_speculative_tokens = 5};
  TETRAD_TRY(read_count(config, "num_speculative_tokens", kMaxSpeculativeTokens,
                        options.num_speculative_tokens));
  TETRAD_TRY(read_count(config, "prompt_lookup_max", kMaxLookup, options.prompt_lookup_max));
  options.prompt_lookup_min = std::min(options.prompt_lookup_min, options.prompt_lookup_max);
  TETRAD_TRY(read_count(config, "prompt_lookup_min", kMaxLookup, options.prompt_lookup_min));
  if (options.prompt_lookup_min > options.prompt_lookup_max) {
    return fail_param("--speculative-config",
                      "\"prompt_lookup_min\" {} exceeds \"prompt_lookup_max\" {}",
                      options.prompt_lookup_min, options.prompt_lookup_max);
  }
  return options;
}

std::vector<TokenId> propose_ngram(std::span<const TokenId> tokens, const NgramOptions& options,
                                   int64_t limit) {
  const auto size = static_cast<int64_t>(tokens.size());
  int64_t longest = options.prompt_lookup_min - 1;
  int64_t follows = 0;
  // Backwards, so that of matches of one length the latest is found first.
  for (int64_t end = size - 1; end > longest && longest < options.prompt_lookup_max; --end) {
    int64_t length = 0;
    while (length < std::min(end, options.prompt_lookup_max) &&
           tokens[static_cast<size_t>(end - 1 - length)] ==
               tokens[static_cast<size_t>(size - 1 - length)]) {
      ++length;
    }
    if (length <= longest) continue;
    longest = length;
    follows = end;
  }
  if (longest < options.prompt_lookup_min) return {};
  const auto count = std::min({limit, options.num_speculative_tokens, size - follows});
  if (count <= 0) return {};
  const auto draft = tokens.subspan(static_cast<size_t>(follows), static_cast<size_t>(count));
  return {draft.begin(), draft.end()};
}

void DraftGovernor::verified(int64_t proposed, int64_t accepted) {
  const double fade = std::max(0.0, 1.0 - static_cast<double>(proposed) / kMemory);
  proposed_ = fade * proposed_ + static_cast<double>(proposed);
  accepted_ = fade * accepted_ + static_cast<double>(accepted);
  if (proposed_ < kMemory / 2 || accepted_ >= kMinAcceptance * proposed_) return;
  pause_ = kPause;
  proposed_ = accepted_ = 0;
}

}  // namespace tetrad
