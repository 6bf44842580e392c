#pragma once

// From the messages of a request to the text of a prompt (minimax-m2 spec, section 5).

#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "chat/template.h"
#include "text/tokenizer.h"

namespace tetrad {

struct ChatInput {
  /// Messages as OpenAI clients send them.
  json::array messages;
  /// {"type": "function", "function": {…}} each; their JSON reaches the prompt as it is, keys in
  /// their order. Empty: the template sees none.
  json::array tools;
  bool add_generation_prompt = true;
  /// Further variables of the template (`chat_template_kwargs`). They may not replace the four
  /// that come from here: messages, tools, add_generation_prompt and documents.
  json::object template_kwargs;
};

/// A stretch of the prompt that is encoded in one go.
struct PromptSegment {
  std::string text;
  /// False for a control token's spelling that came from a client: there it is only text.
  bool parse_special_tokens = true;
};

struct ChatPrompt {
  /// What the template renders, byte for byte.
  std::string text;
  /// The same bytes in order. Encode each with SpecialTokens::parse or ::ignore and concatenate.
  std::vector<PromptSegment> segments;
  /// The generation prompt opened a think block, so that the answer starts inside it.
  bool starts_in_reasoning = false;
};

/// Brings messages into the form that templates expect:
///  - null or missing content becomes "";
///  - leading system and developer messages become one system message, joined by a blank line;
///  - `reasoning_content`, `reasoning` and the texts of `reasoning_details` are one
///    `reasoning_content`;
///  - arguments of tool calls become mappings;
///  - tool results stand in the order of the calls they answer.
/// What cannot be kept is an error whose `param` names the message: a later system message, an
/// unknown role, arguments that are no JSON object, a part that is not text.
Result<json::array> normalise_messages(const json::array& messages);

/// Normalises, renders, and keeps control tokens spelled by clients from becoming control tokens.
Result<ChatPrompt> render_chat(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                               const ChatInput& input);

/// All segments of a prompt as token ids.
Result<std::vector<TokenId>> encode_prompt(const Tokenizer& tokenizer, const ChatPrompt& prompt);

}  // namespace tetrad
