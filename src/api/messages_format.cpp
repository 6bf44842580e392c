#include "api/messages_format.h"

#include <utility>

#include "api/error_response.h"

namespace tetrad::api {
namespace {

constexpr std::string_view kSignature = "unsigned";

std::string_view messages_stop_reason(const AnswerEnd& end, bool max_tokens_were_cut) {
  if (end.reason == FinishReason::length) {
    return max_tokens_were_cut ? "model_context_window_exceeded" : "max_tokens";
  }
  if (end.calls_tools) return "tool_use";
  return end.stop_string ? "stop_sequence" : "end_turn";
}

json::value messages_stop_sequence(const AnswerEnd& end) {
  if (!end.stop_string || end.calls_tools) return nullptr;
  return json::value(*end.stop_string);
}

/// What was read from the cache is not among the input tokens there.
json::object messages_usage(const Usage& usage) {
  json::object object;
  object["input_tokens"] = usage.prompt_tokens - usage.cached_tokens;
  object["cache_creation_input_tokens"] = 0;
  object["cache_read_input_tokens"] = usage.cached_tokens;
  object["output_tokens"] = usage.completion_tokens;
  object["output_tokens_details"] = json::object{{"thinking_tokens", usage.reasoning_tokens}};
  return object;
}

/// "call_…" under the name that Anthropic's clients know.
std::string tool_use_id(std::string_view call_id) {
  if (call_id.starts_with("call_")) call_id.remove_prefix(5);
  return fmt::format("toolu_{}", call_id);
}

/// A block; empty, as it begins in a stream, or with all it has.
json::object messages_block(const AnswerBlock& block, bool empty) {
  json::object object;
  switch (block.kind) {
    case AnswerBlock::Kind::reasoning:
      object["type"] = "thinking";
      object["thinking"] = empty ? std::string() : block.text;
      object["signature"] = empty ? std::string_view() : kSignature;
      break;
    case AnswerBlock::Kind::text:
      object["type"] = "text";
      object["text"] = empty ? std::string() : block.text;
      object["citations"] = nullptr;
      break;
    case AnswerBlock::Kind::tool_call:
      object["type"] = "tool_use";
      object["id"] = tool_use_id(block.call_id);
      object["name"] = block.call_name;
      object["input"] = empty ? json::object() : arguments_of(block);
      break;
  }
  return object;
}

/// A message without its end.
json::object messages_message(const MessagesHeader& header, json::array content,
                              const Usage& usage) {
  json::object message;
  message["id"] = header.id;
  message["type"] = "message";
  message["role"] = "assistant";
  message["model"] = header.model;
  message["content"] = std::move(content);
  message["stop_reason"] = nullptr;
  message["stop_sequence"] = nullptr;
  message["usage"] = messages_usage(usage);
  return message;
}

/// The second is where Anthropic's client looks.
std::vector<Header> messages_id_headers(const MessagesHeader& header) {
  const std::string& id = shown_request_id(header);
  return {{"X-Request-Id", id}, {"request-id", id}};
}

class MessagesWhole final : public BlockResponder {
 public:
  MessagesWhole(MessagesHeader header, int64_t num_prompt_tokens,
                std::shared_ptr<ResponseWriter> writer)
      : BlockResponder(num_prompt_tokens, header.show_thinking, std::move(writer)),
        header_(std::move(header)) {}

 private:
  void answer_ends(const AnswerEnd& end) override {
    json::array content;
    for (const AnswerBlock& block : blocks())
      content.push_back(messages_block(block, /*empty=*/false));
    json::object message = messages_message(header_, std::move(content), usage());
    message["stop_reason"] = messages_stop_reason(end, header_.max_tokens_were_cut);
    message["stop_sequence"] = messages_stop_sequence(end);
    writer().send(
        {.status = 200, .body = to_json_text(message), .headers = messages_id_headers(header_)});
  }
  void answer_fails(const Error& error) override {
    writer().send(error_response(error, ErrorForm::anthropic));
  }

  const MessagesHeader header_;
};

class MessagesStream final : public BlockResponder {
 public:
  MessagesStream(MessagesHeader header, int64_t num_prompt_tokens,
                 std::shared_ptr<ResponseWriter> writer)
      : BlockResponder(num_prompt_tokens, header.show_thinking, std::move(writer)),
        header_(std::move(header)) {}

  void accepted() override {
    writer().start_events(messages_id_headers(header_));
    json::object event;
    event["message"] = messages_message(header_, {}, usage());
    send("message_start", std::move(event));
  }

 private:
  void send(std::string_view type, json::object members) {
    json::object event;
    event["type"] = type;
    for (auto& member : members)
      event[member.key()] = std::move(member.value());
    writer().send_event(to_json_text(event), type);
  }
  void send_delta(const AnswerBlock& block, std::string_view type, std::string_view name,
                  std::string_view text) {
    json::object delta;
    delta["type"] = type;
    delta[name] = text;
    json::object event;
    event["index"] = block.index;
    event["delta"] = std::move(delta);
    send("content_block_delta", std::move(event));
  }

  void block_begins(const AnswerBlock& block) override {
    json::object event;
    event["index"] = block.index;
    event["content_block"] = messages_block(block, /*empty=*/true);
    send("content_block_start", std::move(event));
  }
  void block_grows(const AnswerBlock& block, const std::string& delta) override {
    switch (block.kind) {
      case AnswerBlock::Kind::reasoning:
        return send_delta(block, "thinking_delta", "thinking", delta);
      case AnswerBlock::Kind::text:
        return send_delta(block, "text_delta", "text", delta);
      case AnswerBlock::Kind::tool_call:
        return send_delta(block, "input_json_delta", "partial_json", delta);
    }
  }
  void block_ends(const AnswerBlock& block) override {
    if (block.kind == AnswerBlock::Kind::reasoning) {
      send_delta(block, "signature_delta", "signature", kSignature);
    }
    json::object event;
    event["index"] = block.index;
    send("content_block_stop", std::move(event));
  }
  void answer_ends(const AnswerEnd& end) override {
    json::object delta;
    delta["stop_reason"] = messages_stop_reason(end, header_.max_tokens_were_cut);
    delta["stop_sequence"] = messages_stop_sequence(end);
    json::object event;
    event["delta"] = std::move(delta);
    event["usage"] = messages_usage(usage());
    send("message_delta", std::move(event));
    send("message_stop", {});
    writer().finish_events();
  }
  void answer_fails(const Error& error) override {
    writer().send_event(to_json_text(anthropic_error_object(error)), "error");
    writer().finish_events();
  }

  const MessagesHeader header_;
};

}  // namespace

std::shared_ptr<Responder> messages_responder(MessagesHeader header, int64_t num_prompt_tokens,
                                              std::shared_ptr<ResponseWriter> writer) {
  if (header.stream) {
    return std::make_shared<MessagesStream>(std::move(header), num_prompt_tokens,
                                            std::move(writer));
  }
  return std::make_shared<MessagesWhole>(std::move(header), num_prompt_tokens, std::move(writer));
}

}  // namespace tetrad::api
