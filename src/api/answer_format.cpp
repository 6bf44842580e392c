#include "api/answer_format.h"

namespace tetrad::api {
namespace {

json::value text_or_null(const std::optional<std::string>& text) {
  if (!text) return nullptr;
  return json::value(*text);
}

/// What a choice says of its end; nothing before it.
struct ChoiceEnd {
  std::optional<FinishReason> reason;
  std::optional<std::string> stop_reason;
};

/// The members of a choice that chats and completions share; `payload` holds what differs.
json::object choice_object(int64_t index, json::object payload, json::value logprobs,
                           const ChoiceEnd& end) {
  json::object choice;
  choice["index"] = index;
  for (auto& member : payload)
    choice[member.key()] = std::move(member.value());
  choice["logprobs"] = std::move(logprobs);
  choice["finish_reason"] = nullptr;
  if (end.reason) choice["finish_reason"] = finish_reason_name(*end.reason);
  choice["stop_reason"] = text_or_null(end.stop_reason);
  return choice;
}

json::object usage_object(const Usage& usage) {
  json::object prompt_details;
  prompt_details["cached_tokens"] = usage.cached_tokens;
  json::object completion_details;
  completion_details["reasoning_tokens"] = usage.reasoning_tokens;
  json::object object;
  object["prompt_tokens"] = usage.prompt_tokens;
  object["completion_tokens"] = usage.completion_tokens;
  object["total_tokens"] = usage.prompt_tokens + usage.completion_tokens;
  object["prompt_tokens_details"] = std::move(prompt_details);
  object["completion_tokens_details"] = std::move(completion_details);
  return object;
}

json::object message_object(const Answer& answer, bool include_reasoning) {
  json::object message;
  message["role"] = "assistant";
  message["content"] = nullptr;
  // An answer cut off while thinking has no content, which differs from an empty one.
  if (!answer.content.empty() || answer.reasoning.empty()) message["content"] = answer.content;
  message["refusal"] = nullptr;
  const bool show = include_reasoning && !answer.reasoning.empty();
  for (const char* name : {"reasoning", "reasoning_content"}) {
    message[name] = nullptr;
    if (show) message[name] = answer.reasoning;
  }
  return message;
}

}  // namespace

json::object AnswerFormat::envelope(std::string_view chat_object) const {
  json::object object;
  object["id"] = header_.id;
  object["object"] = header_.dialect == Dialect::chat ? chat_object : "text_completion";
  object["created"] = header_.created;
  object["model"] = header_.model;
  object["system_fingerprint"] = header_.system_fingerprint;
  return object;
}

json::value AnswerFormat::logprobs(std::span<const AnswerToken> tokens) const {
  return header_.dialect == Dialect::chat ? logprobs_.chat(tokens) : logprobs_.completion(tokens);
}

json::object AnswerFormat::whole_choice(const Answer& answer, int64_t index) const {
  json::object payload;
  if (header_.dialect == Dialect::chat) {
    payload["message"] = message_object(answer, header_.include_reasoning);
  } else {
    payload["text"] = answer.content;
    if (header_.include_prompt_logprobs) {
      payload["prompt_logprobs"] = logprobs_.prompt(answer.prompt_logprobs);
    }
  }
  return choice_object(index, std::move(payload), logprobs(answer.tokens),
                       {answer.finish_reason, answer.stop_reason});
}

std::string AnswerFormat::whole(std::span<const Answer> answers, const Usage& usage) const {
  json::array choices;
  for (const Answer& answer : answers)
    choices.push_back(whole_choice(answer, static_cast<int64_t>(choices.size())));
  json::object object = envelope("chat.completion");
  object["choices"] = std::move(choices);
  object["usage"] = usage_object(usage);
  // vLLM's place for them is not the same in both dialects.
  if (header_.dialect == Dialect::chat && header_.include_prompt_logprobs) {
    object["prompt_logprobs"] = logprobs_.prompt(answers.front().prompt_logprobs);
  }
  return to_json_text(object);
}

std::string AnswerFormat::chunk(json::object choice) const {
  json::object object = envelope("chat.completion.chunk");
  object["choices"] = json::array{std::move(choice)};
  if (header_.include_usage) object["usage"] = nullptr;
  return to_json_text(object);
}

std::string AnswerFormat::opening_chunk(int64_t index) const {
  if (header_.dialect == Dialect::completion) return "";
  json::object delta;
  delta["role"] = "assistant";
  delta["content"] = "";
  json::object payload;
  payload["delta"] = std::move(delta);
  return chunk(choice_object(index, std::move(payload), nullptr, {}));
}

std::string AnswerFormat::delta_chunk(const AnswerEvent& event) const {
  json::object payload;
  bool shows_text = !event.content.empty();
  if (header_.dialect == Dialect::chat) {
    json::object delta;
    if (header_.include_reasoning && !event.reasoning.empty()) {
      delta["reasoning"] = event.reasoning;
      delta["reasoning_content"] = event.reasoning;
    }
    if (!event.content.empty()) delta["content"] = event.content;
    shows_text = !delta.empty();
    payload["delta"] = std::move(delta);
  } else {
    payload["text"] = event.content;
  }
  // Tokens whose text is held back have their log probabilities already.
  if (!shows_text && event.tokens.empty()) return "";
  return chunk(choice_object(event.index, std::move(payload), logprobs(event.tokens), {}));
}

std::string AnswerFormat::final_chunk(const AnswerEvent& event) const {
  json::object payload;
  if (header_.dialect == Dialect::chat) {
    payload["delta"] = json::object();
  } else {
    payload["text"] = "";
  }
  return chunk(choice_object(event.index, std::move(payload), nullptr,
                             {event.finish_reason, event.stop_reason}));
}

std::string AnswerFormat::usage_chunk(const Usage& usage) const {
  if (!header_.include_usage) return "";
  json::object object = envelope("chat.completion.chunk");
  object["choices"] = json::array();
  object["usage"] = usage_object(usage);
  return to_json_text(object);
}

}  // namespace tetrad::api
