#pragma once

// The API over one engine: OpenAI's chats, completions and responses, Anthropic's messages, and
// what operators ask. Transport-free: see transport.h. What each route does stands in endpoints.h.

#include "api/router.h"
#include "api/service_context.h"
#include "api/service_options.h"
#include "api/transport.h"

namespace tetrad::api {

class Service final : public RequestHandler {
 public:
  /// The engine, tokenizer and template must outlive the service.
  Service(Engine& engine, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
          const ServiceOptions& options);

  std::optional<JsonResponse> refuse(const RequestHead& head) const override;
  void handle(HttpRequest request, std::shared_ptr<ResponseWriter> writer) override;

 private:
  ServiceContext context_;
};

}  // namespace tetrad::api
