#pragma once

#include "chat/conversation.h"

namespace tetrad::api {

/// Ends the prompt of `input` where the text of its last message ends, so that the model goes on
/// with it. The message must have text, and the template must show it as it is (it does not where
/// the text holds think tags); the error names the message.
Result<void> end_in_last_message(ChatPrompt& prompt, const ChatTemplate& chat_template,
                                 const Tokenizer& tokenizer, const ChatInput& input);

}  // namespace tetrad::api
