#pragma once

// The endpoints: one function each, one file for each group. They answer through the writer, now or
// when the engine has news; an error they return is the answer, in the form of the route's clients.

#include <memory>
#include <string>

#include "api/error_response.h"
#include "api/service_context.h"
#include "api/transport.h"

namespace tetrad::api {

using Writer = std::shared_ptr<ResponseWriter>;

// chat_endpoint.cpp
ApiResult<void> answer_chat(ServiceContext& context, const HttpRequest& http, const Writer& writer);
/// The prompt that a chat's request would give: {"prompt", "token_ids", "num_tokens"}. Most reports
/// of wrong answers begin here.
ApiResult<void> answer_chat_render(ServiceContext& context, const HttpRequest& http,
                                   const Writer& writer);

// completion_endpoint.cpp
ApiResult<void> answer_completion(ServiceContext& context, const HttpRequest& http,
                                  const Writer& writer);

// responses_endpoint.cpp
ApiResult<void> answer_responses(ServiceContext& context, const HttpRequest& http,
                                 const Writer& writer);

// messages_endpoint.cpp
ApiResult<void> answer_messages(ServiceContext& context, const HttpRequest& http,
                                const Writer& writer);
ApiResult<void> answer_count_tokens(ServiceContext& context, const HttpRequest& http,
                                    const Writer& writer);

// tokenize_endpoint.cpp
ApiResult<void> answer_tokenize(ServiceContext& context, const HttpRequest& http,
                                const Writer& writer);
ApiResult<void> answer_detokenize(ServiceContext& context, const HttpRequest& http,
                                  const Writer& writer);

// status_endpoints.cpp
void answer_models(const ServiceContext& context, const Writer& writer);
void answer_model(const ServiceContext& context, const std::string& name, const Writer& writer);
void answer_health(const Writer& writer);
/// 200 while new work is taken, 503 while draining.
void answer_ready(const ServiceContext& context, const Writer& writer);
/// Health by generating a token.
void answer_health_generate(ServiceContext& context, const Writer& writer);
void answer_version(const ServiceContext& context, const Writer& writer);
void answer_load(const ServiceContext& context, const Writer& writer);
void answer_metrics(const ServiceContext& context, const Writer& writer);

/// A whole response of 200.
JsonResponse ok_response(const json::object& body);

}  // namespace tetrad::api
