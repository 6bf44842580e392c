#pragma once

namespace tetrad::api {

/// Which API a request is written for: their fields and answers differ.
enum class Dialect {
  chat,        // OpenAI's /v1/chat/completions
  completion,  // OpenAI's /v1/completions
  responses,   // OpenAI's /v1/responses
  messages,    // Anthropic's /v1/messages
};

}  // namespace tetrad::api
