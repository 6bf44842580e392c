#include "api/tokenize_request.h"

#include <utility>

#include "api/token_fields.h"

namespace tetrad::api {
namespace {

// Far beyond any context; the body's size is limited anyway.
constexpr size_t kMaxTokensOfText = 1 << 22;

Result<void> refuse_own_template(FieldReader& fields) {
  if (fields.find("chat_template") == nullptr) return {};
  return unsupported_field("chat_template",
                           "\"chat_template\" is not supported by this server: a request may not "
                           "bring its own template");
}

}  // namespace

Result<TokenizeRequest> parse_tokenize_request(std::string_view body) {
  TETRAD_ASSIGN(const json::object object, parse_body(body));
  FieldReader fields(object);
  TokenizeRequest request;
  TETRAD_ASSIGN(request.model, fields.string("model"));
  TETRAD_ASSIGN(const std::optional<bool> strings, fields.boolean("return_token_strs"));
  request.return_token_strs = strings.value_or(false);
  TETRAD_TRY(fields.boolean("add_special_tokens"));  // MiniMax-M2's tokenizer adds none by itself
  TETRAD_TRY(refuse_own_template(fields));
  TETRAD_ASSIGN(std::optional<std::string> text, fields.string("prompt"));
  if (text && fields.find("messages") != nullptr) {
    return fail_param("prompt", "\"prompt\" and \"messages\" can't both be given");
  }
  if (text) {
    request.prompt = std::move(*text);
  } else if (fields.find("messages") != nullptr) {
    TETRAD_ASSIGN(request.prompt, read_conversation(fields));
  } else {
    return fail_param("prompt", "\"prompt\" or \"messages\" is needed");
  }
  request.unknown_fields = fields.unread();
  return request;
}

Result<DetokenizeRequest> parse_detokenize_request(std::string_view body) {
  TETRAD_ASSIGN(const json::object object, parse_body(body));
  FieldReader fields(object);
  DetokenizeRequest request;
  TETRAD_ASSIGN(request.model, fields.string("model"));
  if (fields.find("tokens") == nullptr) return fail_param("tokens", "\"tokens\" is missing");
  TETRAD_ASSIGN(request.tokens, read_token_ids(fields, "tokens", kMaxTokensOfText));
  request.unknown_fields = fields.unread();
  return request;
}

}  // namespace tetrad::api
