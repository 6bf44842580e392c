#include "api/openai_header.h"

#include <utility>

namespace tetrad::api {

AnswerHeader openai_header(const ServiceContext& context, const CommonRequest& request,
                           std::string model, const GenerationJob& job, Dialect dialect) {
  AnswerHeader header{.dialect = dialect,
                      .id = response_id(dialect == Dialect::chat ? "chatcmpl-" : "cmpl-", request),
                      .request_id = request.request_id,
                      .created = seconds_since_1970(),
                      .model = std::move(model),
                      .system_fingerprint = context.options.system_fingerprint,
                      .include_usage = request.include_usage,
                      .continuous_usage = request.continuous_usage,
                      .include_prompt_logprobs = request.sampling.prompt_logprobs.has_value(),
                      .prompt_token_ids = {},
                      .num_answers = job.num_answers(),
                      .num_prompts = static_cast<int64_t>(job.prompts.size())};
  if (request.return_token_ids) {
    for (const GenerationRequest& prompt : job.prompts)
      header.prompt_token_ids.push_back(prompt.prompt_ids);
  }
  return header;
}

std::shared_ptr<Responder> openai_responder(const ServiceContext& context,
                                            const CommonRequest& request, AnswerHeader header,
                                            const GenerationJob& job,
                                            std::shared_ptr<ResponseWriter> writer) {
  AnswerFormat format(std::move(header), context.tokenizer);
  const int64_t num_prompt_tokens = job.num_prompt_tokens();
  if (request.stream) {
    return std::make_shared<StreamResponder>(std::move(format), num_prompt_tokens,
                                             std::move(writer));
  }
  return std::make_shared<WholeResponder>(std::move(format), num_prompt_tokens, std::move(writer));
}

}  // namespace tetrad::api
