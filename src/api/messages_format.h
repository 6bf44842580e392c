#pragma once

// Answers in the form of Anthropic's Messages API.

#include <memory>
#include <string>

#include "api/answer_blocks.h"

namespace tetrad::api {

struct MessagesHeader {
  std::string id;
  std::string request_id;  // what X-Request-Id says; "": the id
  std::string model;
  bool stream = false;
  bool show_thinking = false;
  bool max_tokens_were_cut = false;  // to what the context has left
};

/// Streamed or whole, as the header says.
///
/// A thinking block's signature is a fixed text: nothing is signed here, a block that comes back is
/// believed. Clients drop blocks without one.
std::shared_ptr<Responder> messages_responder(MessagesHeader header, int64_t num_prompt_tokens,
                                              std::shared_ptr<ResponseWriter> writer);

}  // namespace tetrad::api
