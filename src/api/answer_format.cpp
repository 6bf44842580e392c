#include "api/answer_format.h"

namespace tetrad::api {
namespace {

json::value text_or_null(const std::optional<std::string>& text) {
  if (!text) return nullptr;
  return json::value(*text);
}

/// The members of a choice that chats and completions share; `payload` holds what differs.
json::object choice_object(json::object payload, std::optional<FinishReason> reason,
                           const std::optional<std::string>& stop_reason) {
  json::object choice;
  choice["index"] = 0;
  for (auto& member : payload)
    choice[member.key()] = std::move(member.value());
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = nullptr;
  if (reason) choice["finish_reason"] = finish_reason_name(*reason);
  choice["stop_reason"] = text_or_null(stop_reason);
  return choice;
}

json::object usage_object(const Usage& usage) {
  json::object details;
  details["reasoning_tokens"] = usage.reasoning_tokens;
  json::object object;
  object["prompt_tokens"] = usage.prompt_tokens;
  object["completion_tokens"] = usage.completion_tokens;
  object["total_tokens"] = usage.prompt_tokens + usage.completion_tokens;
  object["completion_tokens_details"] = std::move(details);
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

std::string AnswerFormat::whole(const Answer& answer, const Usage& usage) const {
  json::object payload;
  if (header_.dialect == Dialect::chat) {
    payload["message"] = message_object(answer, header_.include_reasoning);
  } else {
    payload["text"] = answer.content;
  }
  json::object object = envelope("chat.completion");
  object["choices"] =
      json::array{choice_object(std::move(payload), answer.finish_reason, answer.stop_reason)};
  object["usage"] = usage_object(usage);
  return to_json_text(object);
}

std::string AnswerFormat::chunk(json::object choice) const {
  json::object object = envelope("chat.completion.chunk");
  object["choices"] = json::array{std::move(choice)};
  if (header_.include_usage) object["usage"] = nullptr;
  return to_json_text(object);
}

std::string AnswerFormat::opening_chunk() const {
  if (header_.dialect == Dialect::completion) return "";
  json::object delta;
  delta["role"] = "assistant";
  delta["content"] = "";
  json::object payload;
  payload["delta"] = std::move(delta);
  return chunk(choice_object(std::move(payload), std::nullopt, std::nullopt));
}

std::string AnswerFormat::delta_chunk(const AnswerEvent& event) const {
  json::object payload;
  if (header_.dialect == Dialect::chat) {
    json::object delta;
    if (header_.include_reasoning && !event.reasoning.empty()) {
      delta["reasoning"] = event.reasoning;
      delta["reasoning_content"] = event.reasoning;
    }
    if (!event.content.empty()) delta["content"] = event.content;
    if (delta.empty()) return "";
    payload["delta"] = std::move(delta);
  } else {
    if (event.content.empty()) return "";
    payload["text"] = event.content;
  }
  return chunk(choice_object(std::move(payload), std::nullopt, std::nullopt));
}

std::string AnswerFormat::final_chunk(FinishReason reason,
                                      const std::optional<std::string>& stop) const {
  json::object payload;
  if (header_.dialect == Dialect::chat) {
    payload["delta"] = json::object();
  } else {
    payload["text"] = "";
  }
  return chunk(choice_object(std::move(payload), reason, stop));
}

std::string AnswerFormat::usage_chunk(const Usage& usage) const {
  if (!header_.include_usage) return "";
  json::object object = envelope("chat.completion.chunk");
  object["choices"] = json::array();
  object["usage"] = usage_object(usage);
  return to_json_text(object);
}

}  // namespace tetrad::api
