#include "chat/conversation.h"

#include <algorithm>
#include <utility>

#include "chat/control_tokens.h"

namespace tetrad {
namespace {

/// Whether what the generation prompt adds leaves a think block open. History and instructions may
/// contain such tags too, so only the added part counts.
bool opens_reasoning(std::string_view with, std::string_view without) {
  const auto [end, ignored] =
      std::mismatch(with.begin(), with.end(), without.begin(), without.end());
  const std::string_view added = with.substr(static_cast<size_t>(end - with.begin()));
  const size_t opened = added.rfind("<think>");
  const size_t closed = added.rfind("</think>");
  return opened != std::string_view::npos && (closed == std::string_view::npos || closed < opened);
}

}  // namespace

Result<ChatPrompt> render_chat(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                               const ChatInput& input) {
  TETRAD_ASSIGN(json::array messages, normalise_messages(input.messages));
  json::object context = input.template_kwargs;
  context["messages"] = std::move(messages);
  context["tools"] = input.tools.empty() ? json::value() : json::value(input.tools);
  context["documents"] = nullptr;
  TETRAD_ASSIGN(const ControlTokenMarker marker, ControlTokenMarker::create(tokenizer, context));
  context = marker.mark(context);

  context["add_generation_prompt"] = input.add_generation_prompt;
  TETRAD_ASSIGN(const std::string rendered, chat_template.render(context));
  ChatPrompt prompt;
  prompt.segments = marker.split(rendered);
  for (const PromptSegment& segment : prompt.segments)
    prompt.text += segment.text;
  if (input.add_generation_prompt) {
    context["add_generation_prompt"] = false;
    TETRAD_ASSIGN(const std::string without, chat_template.render(context));
    prompt.starts_in_reasoning = opens_reasoning(rendered, without);
  }
  return prompt;
}

Result<std::vector<TokenId>> encode_prompt(const Tokenizer& tokenizer, const ChatPrompt& prompt) {
  std::vector<TokenId> ids;
  for (const PromptSegment& segment : prompt.segments) {
    TETRAD_ASSIGN(
        const std::vector<TokenId> part,
        tokenizer.encode(segment.text, segment.parse_special_tokens ? SpecialTokens::parse
                                                                    : SpecialTokens::ignore));
    ids.insert(ids.end(), part.begin(), part.end());
  }
  return ids;
}

}  // namespace tetrad
