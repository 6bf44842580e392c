#include <utility>

#include "api/endpoints.h"
#include "api/generation.h"
#include "api/tokenize_request.h"

namespace tetrad::api {
namespace {

Result<std::vector<TokenId>> tokens_of(const ServiceContext& context,
                                       const TokenizeRequest& request) {
  if (const auto* text = std::get_if<std::string>(&request.prompt)) {
    return context.tokenizer.encode(*text);
  }
  TETRAD_ASSIGN(EncodedChat chat,
                encode_chat(context, std::get<ChatRequest>(request.prompt), Dialect::chat));
  return std::move(chat.ids);
}

/// Each token's text; bytes that are no text on their own are U+FFFD.
json::array token_strings(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  json::array strings;
  for (const TokenId id : ids) {
    strings.emplace_back(tokenizer.decode(std::span(&id, 1), /*skip_special_tokens=*/false));
  }
  return strings;
}

}  // namespace

ApiResult<void> answer_tokenize(ServiceContext& context, const HttpRequest& http,
                                const Writer& writer) {
  TETRAD_ASSIGN(const TokenizeRequest request, parse_tokenize_request(http.body));
  context.field_log.note_unknown(request.unknown_fields);
  TETRAD_TRY(choose_model(context.options, request.model));
  TETRAD_ASSIGN(const std::vector<TokenId> ids, tokens_of(context, request));
  json::object body;
  body["count"] = ids.size();
  body["max_model_len"] = context.engine.options().max_model_len;
  body["tokens"] = json::array(ids.begin(), ids.end());
  body["token_strs"] = nullptr;
  if (request.return_token_strs) body["token_strs"] = token_strings(context.tokenizer, ids);
  writer->send(ok_response(body));
  return {};
}

ApiResult<void> answer_detokenize(ServiceContext& context, const HttpRequest& http,
                                  const Writer& writer) {
  TETRAD_ASSIGN(const DetokenizeRequest request, parse_detokenize_request(http.body));
  context.field_log.note_unknown(request.unknown_fields);
  TETRAD_TRY(choose_model(context.options, request.model));
  json::object body;
  body["prompt"] = context.tokenizer.decode(request.tokens, /*skip_special_tokens=*/false);
  writer->send(ok_response(body));
  return {};
}

}  // namespace tetrad::api
