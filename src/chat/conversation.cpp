#include "chat/conversation.h"

#include <algorithm>
#include <chrono>

#include "chat/control_tokens.h"

namespace tetrad {
namespace {

constexpr std::string_view kReserved[] = {"messages", "tools", "add_generation_prompt",
                                          "documents"};

/// The variables of the template. Tools that are not there are null, as transformers passes them.
json::object context_of(const json::object& client_values, bool add_generation_prompt) {
  json::object context = client_values.at("template_kwargs").get_object();
  context["messages"] = client_values.at("messages");
  const json::array& tools = client_values.at("tools").get_array();
  context["tools"] = tools.empty() ? json::value(nullptr) : json::value(tools);
  context["documents"] = nullptr;
  context["add_generation_prompt"] = add_generation_prompt;
  return context;
}

/// Whether the last think tag of the part that add_generation_prompt adds is an opening one.
/// History and tools may hold such tags, too, so that only that part counts.
bool opens_think_block(std::string_view with_prompt, std::string_view without_prompt) {
  constexpr std::string_view kOpen = "<think>";
  constexpr std::string_view kClose = "</think>";
  const auto first_difference = std::mismatch(with_prompt.begin(), with_prompt.end(),
                                              without_prompt.begin(), without_prompt.end());
  const auto shared = static_cast<size_t>(first_difference.first - with_prompt.begin());
  const size_t open = with_prompt.rfind(kOpen);
  const size_t close = with_prompt.rfind(kClose);
  if (open == std::string_view::npos || open + kOpen.size() <= shared) return false;
  return close == std::string_view::npos || close < open;
}

/// Which stretches of the text are control tokens' spellings that came from the client.
Result<std::vector<PromptSegment>> segments_of(const ChatTemplate& chat_template,
                                               const Tokenizer& tokenizer,
                                               const json::object& client_values,
                                               bool add_generation_prompt,
                                               std::chrono::system_clock::time_point now,
                                               const std::string& text) {
  using Which = ControlTokenMarks::Which;
  const json::value values(client_values);
  const ControlTokenMarks marks(special_token_texts(tokenizer), text, values);
  bool has_whole = false;
  for (const Which which : {Which::whole_and_part, Which::whole}) {
    has_whole = marks.has_marks(values, which);
    if (!has_whole) break;
    const json::value marked = marks.mark(values, which);
    const auto rendered =
        chat_template.render(context_of(marked.get_object(), add_generation_prompt), now);
    if (!rendered) continue;  // the template looked into a marked string and disliked it
    if (auto segments = marks.segments(*rendered, text)) return std::move(*segments);
  }
  if (has_whole) {
    return fail_param("messages",
                      "the conversation spells a control token of the model, and the chat template "
                      "takes that text apart, so that it cannot be kept from being one: remove it");
  }
  return std::vector<PromptSegment>{{text, true}};
}

}  // namespace

Result<ChatPrompt> render_chat(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                               const ChatInput& input) {
  for (const std::string_view name : kReserved) {
    if (!input.template_kwargs.contains(name)) continue;
    return fail_param(fmt::format("chat_template_kwargs.{}", name),
                      "the template variable \"{}\" is set by the request itself", name);
  }
  TETRAD_ASSIGN(json::array messages, normalise_messages(input.messages));
  const json::object client_values{{"messages", std::move(messages)},
                                   {"tools", input.tools},
                                   {"template_kwargs", input.template_kwargs}};

  ChatPrompt prompt;
  const auto now = std::chrono::system_clock::now();  // one moment for all renderings
  TETRAD_ASSIGN(prompt.text,
                chat_template.render(context_of(client_values, input.add_generation_prompt), now));
  if (input.add_generation_prompt) {
    TETRAD_ASSIGN(const std::string without,
                  chat_template.render(context_of(client_values, false), now));
    prompt.starts_in_reasoning = opens_think_block(prompt.text, without);
  }
  TETRAD_ASSIGN(prompt.segments, segments_of(chat_template, tokenizer, client_values,
                                             input.add_generation_prompt, now, prompt.text));
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
