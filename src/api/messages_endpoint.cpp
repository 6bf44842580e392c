#include <utility>

#include "api/endpoints.h"
#include "api/generation.h"
#include "api/messages_format.h"
#include "api/messages_request.h"

namespace tetrad::api {

ApiResult<void> answer_messages(ServiceContext& context, const HttpRequest& http,
                                const Writer& writer) {
  TETRAD_ASSIGN(const ChatRequest request,
                parse_messages_request(http.body, MessagesUse::generate));
  context.field_log.note(request.common);
  TETRAD_ASSIGN(std::string model, choose_model(context.options, request.common.model));
  auto job = prepare_chat(context, http.head, request, Dialect::messages);
  if (!job) return tl::unexpected<ApiError>(std::move(job.error()));
  auto responder = messages_responder({.id = response_id("msg_", request.common),
                                       .request_id = request.common.request_id,
                                       .model = std::move(model),
                                       .stream = request.common.stream,
                                       .show_thinking = request.include_reasoning,
                                       .max_tokens_were_cut = job->max_tokens_were_cut},
                                      job->num_prompt_tokens(), writer);
  return start(context, *job, std::move(responder), *writer);
}

ApiResult<void> answer_count_tokens(ServiceContext& context, const HttpRequest& http,
                                    const Writer& writer) {
  TETRAD_ASSIGN(const ChatRequest request, parse_messages_request(http.body, MessagesUse::count));
  context.field_log.note(request.common);
  TETRAD_TRY(choose_model(context.options, request.common.model));
  TETRAD_ASSIGN(const EncodedChat chat, encode_chat(context, request, Dialect::messages));
  json::object body;
  body["input_tokens"] = chat.ids.size();
  writer->send(ok_response(body));
  return {};
}

}  // namespace tetrad::api
