#include "api/completion_request.h"

#include "api/token_fields.h"

namespace tetrad::api {
namespace {

using Prompt = std::variant<std::string, std::vector<TokenId>>;

Result<Prompt> read_ids(const json::array& values) {
  std::vector<TokenId> ids;
  ids.reserve(values.size());
  for (const json::value& value : values) {
    const std::optional<TokenId> id = as_token_id(value);
    if (!id) return fail_param("prompt", "prompt[{}] is not a token id", ids.size());
    ids.push_back(*id);
  }
  return ids;
}

Result<Prompt> read_prompt(FieldReader& fields) {
  const json::value* prompt = fields.find("prompt");
  // A list of prompts with one member is that member.
  if (prompt != nullptr && prompt->is_array() && !prompt->get_array().empty() &&
      !prompt->get_array().front().is_number()) {
    if (prompt->get_array().size() > 1) {
      return fail_param("prompt", "\"prompt\" holds {} prompts; send one request for each",
                        prompt->get_array().size());
    }
    prompt = &prompt->get_array().front();
  }
  if (prompt != nullptr && prompt->is_string() && !prompt->get_string().empty()) {
    return std::string(prompt->get_string());
  }
  if (prompt != nullptr && prompt->is_array() && !prompt->get_array().empty()) {
    return read_ids(prompt->get_array());
  }
  return fail_param("prompt", "\"prompt\" must be a text or a list of token ids, not empty");
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
  TETRAD_ASSIGN(request.prompt, read_prompt(fields));
  if (!request.common.sampling.max_tokens) request.common.sampling.max_tokens = kDefaultMaxTokens;
  TETRAD_TRY(read_echo(fields, request));
  for (std::string& name : fields.unread())
    request.common.unknown_fields.push_back(std::move(name));
  return request;
}

}  // namespace tetrad::api
