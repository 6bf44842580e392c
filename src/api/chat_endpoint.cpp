#include <utility>

#include "api/chat_request.h"
#include "api/endpoints.h"
#include "api/generation.h"
#include "api/openai_header.h"

namespace tetrad::api {

ApiResult<void> answer_chat(ServiceContext& context, const HttpRequest& http,
                            const Writer& writer) {
  TETRAD_ASSIGN(const ChatRequest request, parse_chat_request(http.body));
  context.field_log.note(request.common);
  TETRAD_ASSIGN(std::string model, choose_model(context.options, request.common.model));
  auto job = prepare_chat(context, http.head, request, Dialect::chat);
  if (!job) return tl::unexpected<ApiError>(std::move(job.error()));
  AnswerHeader header =
      openai_header(context, request.common, std::move(model), *job, Dialect::chat);
  header.include_reasoning = request.include_reasoning;
  auto responder = openai_responder(context, request.common, std::move(header), *job, writer);
  return start(context, *job, std::move(responder), *writer);
}

ApiResult<void> answer_chat_render(ServiceContext& context, const HttpRequest& http,
                                   const Writer& writer) {
  TETRAD_ASSIGN(const ChatRequest request, parse_chat_request(http.body));
  context.field_log.note(request.common);
  TETRAD_TRY(choose_model(context.options, request.common.model));
  TETRAD_ASSIGN(const EncodedChat chat, encode_chat(context, request, Dialect::chat));
  json::object body;
  body["prompt"] = chat.text;
  body["token_ids"] = json::array(chat.ids.begin(), chat.ids.end());
  body["num_tokens"] = chat.ids.size();
  body["max_model_len"] = context.engine.options().max_model_len;
  body["starts_in_reasoning"] = chat.starts_in_reasoning;
  writer->send(ok_response(body));
  return {};
}

}  // namespace tetrad::api
