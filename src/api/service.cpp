#include "api/service.h"

#include <utility>

#include "api/endpoints.h"
#include "base/log.h"

namespace tetrad::api {
namespace {

JsonResponse key_needed(ErrorForm form) {
  JsonResponse response =
      error_response(401,
                     "a valid API key is needed: send it as Authorization: Bearer KEY or as "
                     "x-api-key: KEY",
                     "invalid_api_key", form);
  response.headers.push_back({"WWW-Authenticate", "Bearer"});
  return response;
}

/// Those that read a body or generate; an error is their answer.
ApiResult<void> answer(Endpoint endpoint, ServiceContext& context, const HttpRequest& http,
                       const Writer& writer) {
  switch (endpoint) {
    case Endpoint::chat_completions:
      return answer_chat(context, http, writer);
    case Endpoint::chat_render:
      return answer_chat_render(context, http, writer);
    case Endpoint::completions:
      return answer_completion(context, http, writer);
    case Endpoint::responses:
      return answer_responses(context, http, writer);
    case Endpoint::messages:
      return answer_messages(context, http, writer);
    case Endpoint::count_tokens:
      return answer_count_tokens(context, http, writer);
    case Endpoint::tokenize:
      return answer_tokenize(context, http, writer);
    case Endpoint::detokenize:
      return answer_detokenize(context, http, writer);
    default:
      return {};
  }
}

/// The rest, which can't fail.
void answer_status(const Destination& destination, ServiceContext& context, const Writer& writer) {
  switch (destination.endpoint) {
    case Endpoint::models:
      return answer_models(context, writer);
    case Endpoint::model:
      return answer_model(context, destination.argument, writer);
    case Endpoint::health:
      return answer_health(writer);
    case Endpoint::ready:
      return answer_ready(context, writer);
    case Endpoint::health_generate:
      return answer_health_generate(context, writer);
    case Endpoint::version:
      return answer_version(context, writer);
    case Endpoint::load:
      return answer_load(context, writer);
    case Endpoint::metrics:
      return answer_metrics(context, writer);
    default:
      return;
  }
}

}  // namespace

Service::Service(Engine& engine, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                 const ServiceOptions& options)
    : context_{.engine = engine,
               .tokenizer = tokenizer,
               .chat_template = chat_template,
               .options = options,
               .api_keys = ApiKeys(options.api_keys),
               .started = seconds_since_1970(),
               .field_log = {},
               .health_probe = {},
               .constraints = {tokenizer, engine.options().eos_token_ids}} {}

std::optional<JsonResponse> Service::refuse(const RequestHead& head) const {
  const Route* found = find_route(head.target);
  const ErrorForm form = found != nullptr ? found->errors : ErrorForm::openai;
  const bool needs_key = found == nullptr || !found->open_to_all;
  if (needs_key && !context_.api_keys.admit(head)) return key_needed(form);
  auto destination = route(head);
  if (auto* refusal = std::get_if<JsonResponse>(&destination)) return std::move(*refusal);
  const auto& is_draining = context_.options.is_draining;
  if (found != nullptr && found->generates && is_draining && is_draining()) {
    return error_response(503, "the server is stopping and takes no new requests", "draining",
                          form);
  }
  // What cannot be taken is not even read, however large it is.
  if (found != nullptr && found->generates && found->method == "POST") {
    const Result<void> room = context_.engine.check_queue();
    if (!room) return error_response(ApiError(room.error()), form);
  }
  return std::nullopt;
}

void Service::handle(HttpRequest request, std::shared_ptr<ResponseWriter> writer) {
  if (auto refusal = refuse(request.head)) {
    writer->send(std::move(*refusal));
    return;
  }
  const auto destination = std::get<Destination>(route(request.head));
  const Route& found = *find_route(request.head.target);
  if (found.method == "GET") return answer_status(destination, context_, writer);
  const ApiResult<void> result = answer(destination.endpoint, context_, request, writer);
  if (result) return;
  const Error& error = result.error().error;
  if (http_status(error.code) == 500) log::error("request failed: {}", error.message);
  writer->send(error_response(result.error(), found.errors));
}

}  // namespace tetrad::api
