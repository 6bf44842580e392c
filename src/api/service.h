#pragma once

// The OpenAI-compatible API over one engine. Transport-free: see transport.h.

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "api/answer.h"
#include "api/answer_format.h"
#include "api/api_keys.h"
#include "api/cache_salt.h"
#include "api/chat_request.h"
#include "api/completion_request.h"
#include "api/error_response.h"
#include "api/router.h"
#include "api/transport.h"
#include "chat/template.h"
#include "engine/engine.h"
#include "text/tokenizer.h"

namespace tetrad::api {

struct ServiceOptions {
  /// Names the model answers to; the first is the one used where a request names none.
  std::vector<std::string> model_names;
  std::vector<std::string> api_keys;
  PrefixSharing prefix_sharing = PrefixSharing::within_key;
  SamplingDefaults defaults;
  ReasoningMode reasoning_mode = ReasoningMode::split;
  json::object version;  // what GET /version says
  std::string system_fingerprint;
  std::function<std::string()> metrics_text;  // what GET /metrics says; null: nothing
};

/// Names a bounded number of unknown request fields in the log, each once.
class UnknownFieldLog {
 public:
  void note(const std::vector<std::string>& names);

 private:
  std::mutex mutex_;
  std::set<std::string> seen_;
};

class Service final : public RequestHandler {
 public:
  /// The engine, tokenizer and template must outlive the service.
  Service(Engine& engine, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
          ServiceOptions options);

  std::optional<JsonResponse> refuse(const RequestHead& head) const override;
  void handle(HttpRequest request, std::shared_ptr<ResponseWriter> writer) override;

 private:
  using Writer = std::shared_ptr<ResponseWriter>;

  struct Prompt {
    std::vector<TokenId> ids;
    ReasoningMode mode = ReasoningMode::plain;
    bool starts_in_reasoning = false;
    std::optional<EchoedPrompt> echo;
    std::string cache_salt;
  };

  ApiResult<void> chat(const HttpRequest& request, const Writer& writer);
  ApiResult<void> complete(const HttpRequest& request, const Writer& writer);
  /// Hands the request to the engine; its answers go to `writer`.
  ApiResult<void> generate(const CommonRequest& request, Prompt prompt, AnswerHeader header,
                           const Writer& writer);
  /// Submits one generation for each answer: all, or none and an error.
  Result<std::vector<RequestId>> submit_all(const GenerationRequest& request, AnswerPlan plan,
                                            int64_t num_answers,
                                            const std::shared_ptr<AnswerSink>& sink);

  Result<std::string> choose_model(const std::optional<std::string>& name) const;
  ApiResult<SamplingParams> fit_sampling(const CommonRequest& request, const Prompt& prompt,
                                         Dialect dialect) const;
  std::string salt(const RequestHead& head, const CommonRequest& request) const;
  AnswerHeader answer_header(Dialect dialect, std::string model,
                             const CommonRequest& request) const;

  json::object model_object(const std::string& name) const;
  JsonResponse models() const;
  JsonResponse model(const std::string& name) const;
  JsonResponse load() const;
  JsonResponse metrics() const;

  Engine& engine_;
  const Tokenizer& tokenizer_;
  const ChatTemplate& chat_template_;
  const ServiceOptions options_;
  const ApiKeys api_keys_;
  const int64_t started_;  // seconds since 1970
  UnknownFieldLog unknown_fields_;
};

}  // namespace tetrad::api
