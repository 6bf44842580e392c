#include "api/completion_request.h"

#include <algorithm>

#include "api/token_fields.h"

namespace tetrad::api {
namespace {

using Prompt = CompletionRequest::Prompt;

constexpr size_t kMaxPrompts = 128;
constexpr size_t kMaxAnswersOfAll = 256;

Result<Prompt> read_ids(const json::array& values, std::string_view name) {
  std::vector<TokenId> ids;
  ids.reserve(values.size());
  for (const json::value& value : values) {
    const std::optional<TokenId> id = as_token_id(value);
    if (!id) return fail_param("prompt", "{}[{}] is not a token id", name, ids.size());
    ids.push_back(*id);
  }
  return ids;
}

/// `name`: "prompt" or "prompt[1]".
Result<Prompt> read_prompt(const json::value* prompt, std::string_view name) {
  if (prompt != nullptr && prompt->is_string() && !prompt->get_string().empty()) {
    return std::string(prompt->get_string());
  }
  if (prompt != nullptr && prompt->is_array() && !prompt->get_array().empty()) {
    return read_ids(prompt->get_array(), name);
  }
  return fail_param("prompt", "\"{}\" must be a text or a list of token ids, not empty", name);
}

Result<std::vector<Prompt>> read_prompts(FieldReader& fields, int64_t num_answers) {
  const json::value* value = fields.find("prompt");
  std::vector<Prompt> prompts;
  const bool is_list = value != nullptr && value->is_array() && !value->get_array().empty() &&
                       !value->get_array().front().is_number();
  if (!is_list) {
    TETRAD_ASSIGN(Prompt prompt, read_prompt(value, "prompt"));
    prompts.push_back(std::move(prompt));
    return prompts;
  }
  const json::array& list = value->get_array();
  const size_t most = std::min(kMaxPrompts, kMaxAnswersOfAll / static_cast<size_t>(num_answers));
  if (list.size() > most) {
    return fail_param("prompt",
                      "\"prompt\" may hold at most {} prompts with \"n\": {}, not {}; send several "
                      "requests",
                      most, num_answers, list.size());
  }
  for (size_t i = 0; i < list.size(); ++i) {
    TETRAD_ASSIGN(Prompt prompt, read_prompt(&list[i], fmt::format("prompt[{}]", i)));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

Result<void> read_echo(FieldReader& fields, CompletionRequest& request) {
  TETRAD_ASSIGN(const std::optional<bool> echo, fields.boolean("echo"));
  request.echo = echo.value_or(false);
  std::optional<int64_t>& max_tokens = request.common.sampling.max_tokens;
  if (max_tokens != 0) return {};
  if (!request.echo) {
    return fail_param("max_tokens", "\"max_tokens\" must be at least 1 without \"echo\": true");
  }
  request.only_echo = true;
  max_tokens = 1;
  return {};
}

/// Of OpenAI's API and vLLM; a chat goes on to what the context allows.
constexpr int64_t kDefaultMaxTokens = 16;

}  // namespace

Result<CompletionRequest> parse_completion_request(std::string_view body) {
  TETRAD_ASSIGN(const json::object object, parse_body(body));
  FieldReader fields(object);
  CompletionRequest request;
  TETRAD_ASSIGN(request.common, read_common(fields, Dialect::completion));
  TETRAD_ASSIGN(request.prompts, read_prompts(fields, request.common.num_answers));
  if (!request.common.sampling.max_tokens) request.common.sampling.max_tokens = kDefaultMaxTokens;
  TETRAD_TRY(read_echo(fields, request));
  for (std::string& name : fields.unread())
    request.common.unknown_fields.push_back(std::move(name));
  return request;
}

}  // namespace tetrad::api
