#include <utility>

#include "api/endpoints.h"
#include "api/generation.h"
#include "api/responses_format.h"
#include "api/responses_request.h"

namespace tetrad::api {

ApiResult<void> answer_responses(ServiceContext& context, const HttpRequest& http,
                                 const Writer& writer) {
  TETRAD_ASSIGN(ResponsesRequest request, parse_responses_request(http.body));
  const ChatRequest& chat = request.chat;
  context.field_log.note(chat.common);
  TETRAD_ASSIGN(std::string model, choose_model(context.options, chat.common.model));
  auto job = prepare_chat(context, http.head, chat, Dialect::responses);
  if (!job) return tl::unexpected<ApiError>(std::move(job.error()));
  const SamplingRequest& stated = chat.common.sampling;
  const SamplingDefaults& defaults = context.options.defaults;
  request.echo["temperature"] = stated.temperature.value_or(defaults.temperature.value_or(1.0));
  request.echo["top_p"] = stated.top_p.value_or(defaults.top_p.value_or(1.0));
  auto responder = responses_responder({.id = response_id("resp_", chat.common),
                                        .request_id = chat.common.request_id,
                                        .created = seconds_since_1970(),
                                        .model = std::move(model),
                                        .stream = chat.common.stream,
                                        .echo = std::move(request.echo)},
                                       job->num_prompt_tokens(), writer);
  return start(context, *job, std::move(responder), *writer);
}

}  // namespace tetrad::api
