#pragma once

#include <memory>
#include <string>

#include "api/generation.h"

namespace tetrad::api {

/// What a chat's or completion's answers repeat.
AnswerHeader openai_header(const ServiceContext& context, const CommonRequest& request,
                           std::string model, const GenerationJob& job, Dialect dialect);

/// Streamed or whole, as the request asks.
std::shared_ptr<Responder> openai_responder(const ServiceContext& context,
                                            const CommonRequest& request, AnswerHeader header,
                                            const GenerationJob& job,
                                            std::shared_ptr<ResponseWriter> writer);

}  // namespace tetrad::api
