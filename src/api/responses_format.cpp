#include "api/responses_format.h"

#include <utility>

#include "api/error_response.h"
#include "api/generation.h"
#include "api/random_id.h"

namespace tetrad::api {
namespace {

json::object responses_usage(const Usage& usage) {
  json::object object;
  object["input_tokens"] = usage.prompt_tokens;
  object["input_tokens_details"] = json::object{{"cached_tokens", usage.cached_tokens}};
  object["output_tokens"] = usage.completion_tokens;
  object["output_tokens_details"] = json::object{{"reasoning_tokens", usage.reasoning_tokens}};
  object["total_tokens"] = usage.prompt_tokens + usage.completion_tokens;
  return object;
}

std::string_view item_prefix(AnswerBlock::Kind kind) {
  switch (kind) {
    case AnswerBlock::Kind::reasoning:
      return "rs_";
    case AnswerBlock::Kind::text:
      return "msg_";
    case AnswerBlock::Kind::tool_call:
      return "fc_";
  }
  return "";
}

/// The content part of a block's item.
json::object content_part(const AnswerBlock& block, std::string_view text) {
  json::object part;
  if (block.kind == AnswerBlock::Kind::reasoning) {
    part["type"] = "reasoning_text";
    part["text"] = text;
    return part;
  }
  part["type"] = "output_text";
  part["text"] = text;
  part["annotations"] = json::array();
  part["logprobs"] = json::array();
  return part;
}

/// An output item. "in_progress" has no content yet.
json::object output_item(const AnswerBlock& block, const std::string& id, std::string_view status) {
  const bool begins = status == "in_progress";
  json::object item;
  item["id"] = id;
  if (block.kind == AnswerBlock::Kind::tool_call) {
    item["type"] = "function_call";
    item["status"] = status;
    item["arguments"] = begins ? std::string() : block.text;
    item["call_id"] = block.call_id;
    item["name"] = block.call_name;
    return item;
  }
  json::array content;
  if (!begins) content.push_back(content_part(block, block.text));
  if (block.kind == AnswerBlock::Kind::reasoning) {
    item["type"] = "reasoning";
    item["summary"] = json::array();
    item["encrypted_content"] = nullptr;
  } else {
    item["type"] = "message";
    item["role"] = "assistant";
  }
  item["status"] = status;
  item["content"] = std::move(content);
  return item;
}

/// What both ways of answering make of the same answer.
class ResponsesResponder : public BlockResponder {
 public:
  ResponsesResponder(ResponsesHeader header, int64_t num_prompt_tokens,
                     std::shared_ptr<ResponseWriter> writer)
      : BlockResponder(num_prompt_tokens, /*show_reasoning=*/true, std::move(writer)),
        header_(std::move(header)) {}

 protected:
  std::vector<Header> id_headers() const { return {{"X-Request-Id", shown_request_id(header_)}}; }

  const std::string& item_id(const AnswerBlock& block) {
    while (item_ids_.size() <= block.index)
      item_ids_.push_back(random_id(item_prefix(block.kind)));
    return item_ids_[block.index];
  }

  /// The response object before its end: "in_progress".
  json::object response_object() const {
    json::object object;
    object["id"] = header_.id;
    object["object"] = "response";
    object["created_at"] = header_.created;
    object["status"] = "in_progress";
    object["completed_at"] = nullptr;
    object["error"] = nullptr;
    object["incomplete_details"] = nullptr;
    object["model"] = header_.model;
    object["output"] = json::array();
    object["usage"] = nullptr;
    for (const auto& member : header_.echo)
      object[member.key()] = member.value();
    return object;
  }

  json::object ended_object(const AnswerEnd& end) {
    const bool cut = end.reason == FinishReason::length;
    json::object object = response_object();
    object["status"] = cut ? "incomplete" : "completed";
    if (cut) {
      object["incomplete_details"] = json::object{{"reason", "max_output_tokens"}};
    } else {
      object["completed_at"] = seconds_since_1970();
    }
    json::array& output = object["output"].get_array();
    for (const AnswerBlock& block : blocks()) {
      // Only the last one can be cut off.
      const bool is_whole = !cut || block.index + 1 < blocks().size();
      output.push_back(output_item(block, item_id(block), is_whole ? "completed" : "incomplete"));
    }
    object["usage"] = responses_usage(usage());
    return object;
  }

 private:
  const ResponsesHeader header_;
  std::vector<std::string> item_ids_;  // of the blocks so far
};

class ResponsesWhole final : public ResponsesResponder {
 public:
  using ResponsesResponder::ResponsesResponder;

 private:
  void answer_ends(const AnswerEnd& end) override {
    writer().send(
        {.status = 200, .body = to_json_text(ended_object(end)), .headers = id_headers()});
  }
  void answer_fails(const Error& error) override { writer().send(error_response(error)); }
};

class ResponsesStream final : public ResponsesResponder {
 public:
  using ResponsesResponder::ResponsesResponder;

  void accepted() override {
    writer().start_events(id_headers());
    for (const std::string_view type : {"response.created", "response.in_progress"})
      send(type, {{"response", response_object()}});
  }

 private:
  void send(std::string_view type, json::object members) {
    json::object event;
    event["type"] = type;
    event["sequence_number"] = sequence_number_++;
    for (auto& member : members)
      event[member.key()] = std::move(member.value());
    writer().send_event(to_json_text(event), type);
  }
  /// An event that is about a block's item, or with `content_index` about its only part.
  void send_of(const AnswerBlock& block, std::string_view type, json::object members) {
    json::object all;
    all["item_id"] = item_id(block);
    all["output_index"] = block.index;
    if (block.kind != AnswerBlock::Kind::tool_call) all["content_index"] = 0;
    for (auto& member : members)
      all[member.key()] = std::move(member.value());
    send(type, std::move(all));
  }
  void send_item(const AnswerBlock& block, std::string_view type, std::string_view status) {
    json::object members;
    members["output_index"] = block.index;
    members["item"] = output_item(block, item_id(block), status);
    send(type, std::move(members));
  }

  void block_begins(const AnswerBlock& block) override {
    finish_item("completed");
    send_item(block, "response.output_item.added", "in_progress");
    if (block.kind == AnswerBlock::Kind::tool_call) return;
    send_of(block, "response.content_part.added", {{"part", content_part(block, "")}});
  }

  void block_grows(const AnswerBlock& block, const std::string& delta) override {
    switch (block.kind) {
      case AnswerBlock::Kind::reasoning:
        return send_of(block, "response.reasoning_text.delta", {{"delta", delta}});
      case AnswerBlock::Kind::text:
        return send_of(block, "response.output_text.delta",
                       {{"delta", delta}, {"logprobs", json::array()}});
      case AnswerBlock::Kind::tool_call:
        return send_of(block, "response.function_call_arguments.delta", {{"delta", delta}});
    }
  }

  /// The item itself is done only when it is known whether the answer was cut off in it.
  void block_ends(const AnswerBlock& block) override {
    ended_ = block.index;
    switch (block.kind) {
      case AnswerBlock::Kind::reasoning:
        send_of(block, "response.reasoning_text.done", {{"text", block.text}});
        break;
      case AnswerBlock::Kind::text:
        send_of(block, "response.output_text.done",
                {{"text", block.text}, {"logprobs", json::array()}});
        break;
      case AnswerBlock::Kind::tool_call:
        return send_of(block, "response.function_call_arguments.done", {{"arguments", block.text}});
    }
    send_of(block, "response.content_part.done", {{"part", content_part(block, block.text)}});
  }
  void finish_item(std::string_view status) {
    const std::optional<size_t> ended = std::exchange(ended_, std::nullopt);
    if (ended) send_item(blocks()[*ended], "response.output_item.done", status);
  }

  void answer_ends(const AnswerEnd& end) override {
    const bool cut = end.reason == FinishReason::length;
    finish_item(cut ? "incomplete" : "completed");
    send(cut ? "response.incomplete" : "response.completed", {{"response", ended_object(end)}});
    writer().finish_events();
  }

  void answer_fails(const Error& error) override {
    const json::object told = error_object(ApiError(error));
    json::object failure;
    failure["code"] = "server_error";
    failure["message"] = told.at("error").at("message");
    json::object object = response_object();
    object["status"] = "failed";
    object["error"] = std::move(failure);
    send("response.failed", {{"response", std::move(object)}});
    writer().finish_events();
  }

  int64_t sequence_number_ = 0;
  std::optional<size_t> ended_;  // the block whose item is not yet told to be done
};

}  // namespace

std::shared_ptr<Responder> responses_responder(ResponsesHeader header, int64_t num_prompt_tokens,
                                               std::shared_ptr<ResponseWriter> writer) {
  if (header.stream) {
    return std::make_shared<ResponsesStream>(std::move(header), num_prompt_tokens,
                                             std::move(writer));
  }
  return std::make_shared<ResponsesWhole>(std::move(header), num_prompt_tokens, std::move(writer));
}

}  // namespace tetrad::api
