#include "api/unsupported_fields.h"

#include <algorithm>
#include <span>

namespace tetrad::api {
namespace {

struct UnsupportedField {
  std::string_view name;
  std::string_view neutral;  // a JSON array of the values that ask for nothing
  std::string_view instead;  // what the error adds
};

constexpr std::string_view kNoConstraint = "; output can't be constrained to a grammar yet";

constexpr UnsupportedField kBoth[] = {
    {"best_of", "[1]", "; \"n\" answers are given as they come"},
    {"use_beam_search", "[false]", ""},
    {"length_penalty", "[1]", ""},
    {"repetition_detection", "[]", ""},
    {"truncate_prompt_tokens", "[]", "; shorten the prompt instead"},
    {"spaces_between_special_tokens", "[true,false]", ""},
    {"return_tokens_as_token_ids", "[false]", ""},
    {"return_token_ids", "[false]", ""},
    {"return_prompt_text", "[false]", ""},
    {"response_format", R"([{"type":"text"}])", kNoConstraint},
    {"structured_outputs", "[]", kNoConstraint},
    {"guided_json", "[]", kNoConstraint},
    {"guided_regex", "[]", kNoConstraint},
    {"guided_choice", "[]", kNoConstraint},
    {"guided_grammar", "[]", kNoConstraint},
    {"logits_processors", "[[]]", ""},
    {"thinking_token_budget", "[]", ""},
    {"kv_transfer_params", "[]", ""},
    {"vllm_xargs", "[{}]", ""},
};

constexpr UnsupportedField kChatOnly[] = {
    {"echo", "[false]", ""},
    {"continue_final_message", "[false]", ""},
    {"parallel_tool_calls", "[true]", ""},
    {"functions", "[[]]", "; use \"tools\""},
    {"function_call", R"(["none","auto"])", "; use \"tool_choice\""},
    {"chat_template", "[]", ": a request may not bring its own template"},
    {"documents", "[[]]", ""},
    {"modalities", R"([["text"]])", ": the model reads and writes text only"},
    {"audio", "[]", ": the model reads and writes text only"},
    {"mm_processor_kwargs", "[{}]", ": the model reads and writes text only"},
    {"web_search_options", "[]", ""},
    {"verbosity", R"(["medium"])", ""},
};

constexpr UnsupportedField kCompletionOnly[] = {
    {"suffix", R"([""])", ""},
    {"prompt_embeds", "[]", ""},
};

// Labels, hints and settings of somebody's infrastructure: the answer is the same without them.
constexpr std::string_view kWithoutEffect[] = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "request_id",
    "session_id",
    "safety_identifier",
    "prediction",
    "prompt_cache_key",
    "add_special_tokens",  // MiniMax-M2's tokenizer adds none by itself
    "prompt_cache_retention",
    "stream_interval",
};

/// 0 and 0.0 are the same request.
bool same_value(const json::value& a, const json::value& b) {
  if (a.is_number() && b.is_number()) return a.to_number<double>() == b.to_number<double>();
  return a == b;
}

Result<void> check(FieldReader& fields, std::span<const UnsupportedField> table) {
  for (const UnsupportedField& field : table) {
    const json::value* value = fields.find(field.name);
    if (value == nullptr) continue;
    const json::value neutral = json::parse(field.neutral);
    const bool asks_for_nothing = std::ranges::any_of(
        neutral.get_array(), [value](const json::value& one) { return same_value(one, *value); });
    if (!asks_for_nothing) {
      return unsupported_field(field.name, fmt::format("\"{}\" is not supported by this server{}",
                                                       field.name, field.instead));
    }
  }
  return {};
}

}  // namespace

Result<void> check_unsupported_fields(FieldReader& fields, Dialect dialect) {
  for (const std::string_view name : kWithoutEffect)
    fields.find(name);
  TETRAD_TRY(check(fields, kBoth));
  if (dialect == Dialect::chat) return check(fields, kChatOnly);
  return check(fields, kCompletionOnly);
}

}  // namespace tetrad::api
