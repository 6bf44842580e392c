#pragma once

// The way from a request to the engine that all dialects take: which model, which prompt, does it
// fit, submit.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/chat_request.h"
#include "api/error_response.h"
#include "api/responders.h"
#include "api/service_context.h"
#include "api/transport.h"

namespace tetrad::api {

/// The name under which the answer goes. Error: a name that this server does not have.
Result<std::string> choose_model(const ServiceOptions& options,
                                 const std::optional<std::string>& name);

/// "chatcmpl-…": with the client's own id behind the prefix, if it gave one.
std::string response_id(std::string_view prefix, const CommonRequest& request);

/// A prompt, and what of it the answer repeats.
struct RequestPrompt {
  std::vector<TokenId> ids;
  std::optional<EchoedPrompt> echo;
};

/// A chat's prompt as text and tokens.
struct EncodedChat {
  std::string text;
  std::vector<TokenId> ids;
  bool starts_in_reasoning = false;
};

/// Renders and encodes. What is wrong with the conversation is the client's fault, in the field
/// that `dialect` has it in.
Result<EncodedChat> encode_chat(const ServiceContext& context, const ChatRequest& request,
                                Dialect dialect);

/// A request that the engine can be asked.
struct GenerationJob {
  std::vector<GenerationRequest> prompts;
  std::vector<std::optional<EchoedPrompt>> echoes;  // one for each prompt
  AnswerPlan plan;                                  // of every answer, but for index and echo
  int64_t answers_per_prompt = 1;
  bool max_tokens_were_cut = false;  // the context is shorter than the wish

  int64_t num_answers() const { return static_cast<int64_t>(prompts.size()) * answers_per_prompt; }
  int64_t num_prompt_tokens() const;
};

/// Lays the request over the model's defaults and sees that prompts and answers fit the context.
/// `plan` needs its mode, starts_in_reasoning and tools; `demands` is what the answers must keep to
/// besides the request's output.
ApiResult<GenerationJob> prepare(ServiceContext& context, const RequestHead& head,
                                 const CommonRequest& request, std::vector<RequestPrompt> prompts,
                                 AnswerPlan plan, AnswerDemands demands, Dialect dialect);

/// encode_chat() and prepare().
ApiResult<GenerationJob> prepare_chat(ServiceContext& context, const RequestHead& head,
                                      const ChatRequest& request, Dialect dialect);

/// Hands the job to the engine; its answers go to `responder`. The engine takes all of it, or
/// nothing and there is an error. `writer` is asked when the client leaves.
ApiResult<void> start(ServiceContext& context, const GenerationJob& job,
                      std::shared_ptr<Responder> responder, ResponseWriter& writer);

}  // namespace tetrad::api
