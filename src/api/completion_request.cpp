#include "api/completion_request.h"

#include <limits>

namespace tetrad::api {
namespace {

using Prompt = std::variant<std::string, std::vector<TokenId>>;

Result<Prompt> read_ids(const json::array& values) {
  std::vector<TokenId> ids;
  ids.reserve(values.size());
  for (const json::value& value : values) {
    const std::optional<int64_t> id = as_integer(value);
    if (!id || *id < 0 || *id > std::numeric_limits<TokenId>::max()) {
      return fail_param("prompt", "prompt[{}] is not a token id", ids.size());
    }
    ids.push_back(static_cast<TokenId>(*id));
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

}  // namespace

Result<CompletionRequest> parse_completion_request(std::string_view body) {
  TETRAD_ASSIGN(const json::object object, parse_body(body));
  FieldReader fields(object);
  CompletionRequest request;
  TETRAD_ASSIGN(request.common, read_common(fields, Dialect::completion));
  TETRAD_ASSIGN(request.prompt, read_prompt(fields));
  for (std::string& name : fields.unread())
    request.common.unknown_fields.push_back(std::move(name));
  return request;
}

}  // namespace tetrad::api
