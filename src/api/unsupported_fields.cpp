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

constexpr std::string_view kTextOnly = ": the model reads and writes text only";
constexpr std::string_view kStateless =
    ": it keeps nothing of a request once it is answered; send the whole conversation as \"input\"";

// Of chats and completions.
constexpr UnsupportedField kOfBoth[] = {
    {"best_of", "[1]", "; \"n\" answers are given as they come"},
    {"use_beam_search", "[false]", ": it keeps no beams, only samples"},
    {"length_penalty", "[1]", ", which belongs to beam search"},
    {"repetition_detection", "[]", "; use \"repetition_penalty\" or \"max_tokens\""},
    {"truncation_side", R"(["left"])", ": it keeps a prompt's end"},
    {"spaces_between_special_tokens", "[true,false]", ""},
    {"return_tokens_as_token_ids", "[false]", "; log probabilities name tokens by their text"},
    {"return_prompt_text", "[false]", "; /v1/chat/completions/render tells it"},
    {"logits_processors", "[[]]", ": a request may not bring code"},
    {"kv_transfer_params", "[]", ": it has no second server to fetch keys and values from"},
    {"ec_transfer_params", "[]", ": the model reads text only"},
    {"vllm_xargs", "[{}]", ": they belong to plugins of vLLM"},
};

constexpr UnsupportedField kOfChats[] = {
    {"echo", "[false]", "; /v1/completions has it"},
    {"functions", "[[]]", "; use \"tools\""},
    {"function_call", R"(["none","auto"])", "; use \"tool_choice\""},
    {"chat_template", "[]", ": a request may not bring its own template"},
    {"documents", "[[]]", "; put them into a message"},
    {"modalities", R"([["text"]])", kTextOnly},
    {"audio", "[]", kTextOnly},
    {"mm_processor_kwargs", "[{}]", kTextOnly},
    {"media_io_kwargs", "[{}]", kTextOnly},
    {"moderation", "[]", ": nobody moderates here"},
    {"web_search_options", "[]", ": it does not search; offer a tool that does"},
    {"verbosity", R"(["medium"])", "; say in a message how long the answer shall be"},
};

constexpr UnsupportedField kOfCompletions[] = {
    {"suffix", R"([""])", ": the model can't fill in"},
    {"prompt_embeds", "[]", "; send \"prompt\""},
    {"thinking_token_budget", "[]", ": a completion does not think; use /v1/chat/completions"},
};

constexpr UnsupportedField kOfResponses[] = {
    {"previous_response_id", "[]", kStateless},
    {"conversation", "[]", kStateless},
    {"background", "[false]", kStateless},
    {"prompt", "[]", ": it keeps no prompts; send \"input\" and \"instructions\""},
    {"max_tool_calls", "[]", ": it runs no tools itself"},
    {"context_management", "[[]]", ": it does not shorten conversations"},
    {"moderation", "[]", ": nobody moderates here"},
    {"image", "[]", kTextOnly},
    {"access_programs", "[]", ": it runs no tools itself"},
    {"response_format", "[]", "; use \"text.format\""},
    {"structured_outputs", "[]", "; use \"text.format\""},
};

constexpr UnsupportedField kOfMessages[] = {
    {"container", "[]", ": it runs no code"},
    {"mcp_servers", "[[]]", ": it calls no other servers; offer their tools as your own"},
    {"output_format", "[]", "; use \"output_config.format\""},
    {"structured_outputs", "[]", "; use \"output_config.format\""},
};

// Labels, hints and settings of somebody's infrastructure: the answer is the same without them.
constexpr std::string_view kWithoutEffect[] = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "session_id",
    "safety_identifier",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "add_special_tokens",  // MiniMax-M2's tokenizer adds none by itself
    "stream_interval",     // an event is sent as soon as there is text
};

constexpr std::string_view kWithoutEffectInMessages[] = {
    "metadata",
    "service_tier",
    "cache_control",  // every prefix is cached
    "speed",
    "inference_geo",
    "user_profile_id",
    "workspace_id",
    "diagnostics",
    "context_management",  // Claude Code asks for old thinking to go, which the template sees to
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

/// Those of `names` that the request has.
std::vector<std::string> present_fields(FieldReader& fields,
                                        std::span<const std::string_view> names) {
  std::vector<std::string> present;
  for (const std::string_view name : names) {
    if (fields.find(name) != nullptr) present.emplace_back(name);
  }
  return present;
}

}  // namespace

Result<std::vector<std::string>> check_unsupported_fields(FieldReader& fields, Dialect dialect) {
  switch (dialect) {
    case Dialect::chat:
      TETRAD_TRY(check(fields, kOfBoth));
      TETRAD_TRY(check(fields, kOfChats));
      break;
    case Dialect::completion:
      TETRAD_TRY(check(fields, kOfBoth));
      TETRAD_TRY(check(fields, kOfCompletions));
      break;
    case Dialect::responses:
      TETRAD_TRY(check(fields, kOfResponses));
      break;
    case Dialect::messages:
      TETRAD_TRY(check(fields, kOfMessages));
      return present_fields(fields, kWithoutEffectInMessages);
  }
  return present_fields(fields, kWithoutEffect);
}

}  // namespace tetrad::api
