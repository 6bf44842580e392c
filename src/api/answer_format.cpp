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
  bool calls_tools = false;
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
  if (end.reason) choice["finish_reason"] = answer_finish_reason(*end.reason, end.calls_tools);
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

json::object tool_call_object(const AnswerToolCall& call) {
  json::object function;
  function["name"] = call.name;
  function["arguments"] = call.arguments;
  return {{"id", call.id}, {"type", "function"}, {"function", std::move(function)}};
}

/// A piece of a call in a stream: its beginning without arguments, or some of them.
json::object tool_call_delta(const AnswerToolCall& piece, bool is_beginning) {
  json::object delta{{"index", piece.index}};
  json::object function;
  if (is_beginning) {
    delta["id"] = piece.id;
    delta["type"] = "function";
    function["name"] = piece.name;
  }
  function["arguments"] = is_beginning ? "" : piece.arguments;
  delta["function"] = std::move(function);
  return delta;
}

json::object message_object(const Answer& answer, bool include_reasoning) {
  json::object message;
  message["role"] = "assistant";
  message["content"] = nullptr;
  // An answer cut off while thinking has no content, which differs from an empty one.
  const bool has_other = !answer.reasoning.empty() || !answer.tool_calls.empty();
  if (!answer.content.empty() || !has_other) message["content"] = answer.content;
  message["refusal"] = nullptr;
  const bool show = include_reasoning && !answer.reasoning.empty();
  for (const char* name : {"reasoning", "reasoning_content"}) {
    message[name] = nullptr;
    if (show) message[name] = answer.reasoning;
  }
  if (answer.tool_calls.empty()) return message;
  json::array calls;
  for (const AnswerToolCall& call : answer.tool_calls)
    calls.push_back(tool_call_object(call));
  message["tool_calls"] = std::move(calls);
  return message;
}

}  // namespace

std::vector<json::object> chat_deltas(const AnswerEvent& event, bool include_reasoning) {
  json::object first;
  if (include_reasoning && !event.reasoning.empty()) {
    first["reasoning"] = event.reasoning;
    first["reasoning_content"] = event.reasoning;
  }
  if (!event.content.empty()) first["content"] = event.content;
  json::array pieces;
  json::array later;
  for (const AnswerToolCall& piece : event.tool_calls) {
    const bool is_beginning = !piece.name.empty();
    pieces.push_back(tool_call_delta(piece, is_beginning));
    if (is_beginning && !piece.arguments.empty()) later.push_back(tool_call_delta(piece, false));
  }
  if (!pieces.empty()) first["tool_calls"] = std::move(pieces);
  std::vector<json::object> deltas;
  if (!first.empty()) deltas.push_back(std::move(first));
  if (!later.empty()) deltas.push_back({{"tool_calls", std::move(later)}});
  return deltas;
}

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

/// Of the prompt to which this is an answer.
json::array AnswerFormat::prompt_token_ids(int64_t index) const {
  const auto& ids =
      header_.prompt_token_ids[static_cast<size_t>(index / header_.answers_per_prompt())];
  return json::array(ids.begin(), ids.end());
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
  if (returns_token_ids()) {
    if (header_.dialect == Dialect::completion) {
      payload["prompt_token_ids"] = prompt_token_ids(index);
    }
    payload["token_ids"] = json::array(answer.token_ids.begin(), answer.token_ids.end());
  }
  return choice_object(index, std::move(payload), logprobs(answer.tokens),
                       {answer.finish_reason, answer.stop_reason, answer.calls_tools});
}

std::string AnswerFormat::whole(std::span<const Answer> answers, const Usage& usage) const {
  json::array choices;
  for (const Answer& answer : answers)
    choices.push_back(whole_choice(answer, static_cast<int64_t>(choices.size())));
  json::object object = envelope("chat.completion");
  object["choices"] = std::move(choices);
  object["usage"] = usage_object(usage);
  // vLLM's place for what is of the prompt is not the same in both dialects.
  if (header_.dialect != Dialect::chat) return to_json_text(object);
  if (header_.include_prompt_logprobs) {
    object["prompt_logprobs"] = logprobs_.prompt(answers.front().prompt_logprobs);
  }
  if (returns_token_ids()) object["prompt_token_ids"] = prompt_token_ids(0);
  return to_json_text(object);
}

std::string AnswerFormat::chunk(json::object choice) const {
  json::object object = envelope("chat.completion.chunk");
  object["choices"] = json::array{std::move(choice)};
  if (header_.include_usage) object["usage"] = nullptr;
  if (header_.continuous_usage) object["usage"] = usage_object(usage_so_far_);
  return to_json_text(object);
}

std::string AnswerFormat::opening_chunk(int64_t index) const {
  json::object payload;
  if (header_.dialect == Dialect::chat) {
    payload["delta"] = json::object{{"role", "assistant"}, {"content", ""}};
  } else if (returns_token_ids()) {
    payload["text"] = "";
  } else {
    return "";
  }
  if (returns_token_ids()) payload["prompt_token_ids"] = prompt_token_ids(index);
  return chunk(choice_object(index, std::move(payload), nullptr, {}));
}

std::vector<std::string> AnswerFormat::delta_chunks(const AnswerEvent& event) const {
  std::vector<json::object> payloads;
  if (header_.dialect == Dialect::chat) {
    for (json::object& delta : chat_deltas(event, header_.include_reasoning))
      payloads.push_back({{"delta", std::move(delta)}});
  } else if (!event.content.empty()) {
    payloads.push_back({{"text", event.content}});
  }
  // Tokens whose text is held back have their log probabilities and ids already.
  if (payloads.empty() && !(event.tokens.empty() && event.token_ids.empty())) {
    payloads.push_back(header_.dialect == Dialect::chat ? json::object{{"delta", json::object()}}
                                                        : json::object{{"text", ""}});
  }
  if (returns_token_ids() && !payloads.empty()) {
    payloads.front()["token_ids"] = json::array(event.token_ids.begin(), event.token_ids.end());
  }
  std::vector<std::string> chunks;
  std::span<const AnswerToken> tokens = event.tokens;
  for (json::object& payload : payloads) {
    chunks.push_back(
        chunk(choice_object(event.index, std::move(payload), logprobs(tokens), ChoiceEnd())));
    tokens = {};
  }
  return chunks;
}

std::string AnswerFormat::final_chunk(const AnswerEvent& event) const {
  json::object payload;
  if (header_.dialect == Dialect::chat) {
    payload["delta"] = json::object();
  } else {
    payload["text"] = "";
  }
  return chunk(choice_object(event.index, std::move(payload), nullptr,
                             {event.finish_reason, event.stop_reason, event.calls_tools}));
}

std::string AnswerFormat::usage_chunk(const Usage& usage) const {
  if (!header_.include_usage) return "";
  json::object object = envelope("chat.completion.chunk");
  object["choices"] = json::array();
  object["usage"] = usage_object(usage);
  return to_json_text(object);
}

}  // namespace tetrad::api
