#include <utility>

#include "api/completion_request.h"
#include "api/endpoints.h"
#include "api/generation.h"
#include "api/openai_header.h"

namespace tetrad::api {
namespace {

Result<RequestPrompt> encode_completion(const Tokenizer& tokenizer,
                                        CompletionRequest::Prompt prompt,
                                        const CompletionRequest& request) {
  RequestPrompt encoded;
  std::string text;
  if (auto* ids = std::get_if<std::vector<TokenId>>(&prompt)) {
    encoded.ids = std::move(*ids);
    if (request.echo) text = tokenizer.decode(encoded.ids, /*skip_special_tokens=*/false);
  } else {
    text = std::move(std::get<std::string>(prompt));
    TETRAD_ASSIGN(encoded.ids, tokenizer.encode(text));
  }
  if (request.echo) {
    encoded.echo = {.text = std::move(text), .ids = encoded.ids, .alone = request.only_echo};
  }
  return encoded;
}

}  // namespace

ApiResult<void> answer_completion(ServiceContext& context, const HttpRequest& http,
                                  const Writer& writer) {
  TETRAD_ASSIGN(CompletionRequest request, parse_completion_request(http.body));
  context.field_log.note(request.common);
  TETRAD_ASSIGN(std::string model, choose_model(context.options, request.common.model));
  std::vector<RequestPrompt> prompts;
  for (CompletionRequest::Prompt& prompt : request.prompts) {
    TETRAD_ASSIGN(RequestPrompt encoded,
                  encode_completion(context.tokenizer, std::move(prompt), request));
    prompts.push_back(std::move(encoded));
  }
  auto job = prepare(context, http.head, request.common, std::move(prompts), AnswerPlan(),
                     AnswerDemands(), Dialect::completion);
  if (!job) return tl::unexpected<ApiError>(std::move(job.error()));
  AnswerHeader header =
      openai_header(context, request.common, std::move(model), *job, Dialect::completion);
  auto responder = openai_responder(context, request.common, std::move(header), *job, writer);
  return start(context, *job, std::move(responder), *writer);
}

}  // namespace tetrad::api
