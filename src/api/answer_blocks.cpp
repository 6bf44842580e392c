#include "api/answer_blocks.h"

#include <utility>

namespace tetrad::api {

BlockResponder::BlockResponder(int64_t num_prompt_tokens, bool show_reasoning,
                               std::shared_ptr<ResponseWriter> writer)
    : counter_(num_prompt_tokens), show_reasoning_(show_reasoning), writer_(std::move(writer)) {}

void BlockResponder::on_answer(AnswerEvent event) {
  counter_.add(event);
  if (show_reasoning_) grow(AnswerBlock::Kind::reasoning, event.reasoning);
  grow(AnswerBlock::Kind::text, event.content);
  for (const AnswerToolCall& piece : event.tool_calls)
    grow_call(piece);
  if (!event.finish_reason) return;
  if (const std::optional<Error> error = failure_of(event)) {
    answer_fails(*error);
    return;
  }
  end_block();
  answer_ends({.reason = *event.finish_reason,
               .stop_string = std::move(event.stop_reason),
               .calls_tools = event.calls_tools});
}

void BlockResponder::grow(AnswerBlock::Kind kind, const std::string& delta) {
  if (delta.empty()) return;
  if (!block_is_open_ || blocks_.back().kind != kind) {
    begin_block({.kind = kind, .text = {}, .call_id = {}, .call_name = {}});
  }
  blocks_.back().text += delta;
  block_grows(blocks_.back(), delta);
}

void BlockResponder::grow_call(const AnswerToolCall& piece) {
  // Only a call's first piece has its name.
  if (!piece.name.empty()) {
    begin_block({.kind = AnswerBlock::Kind::tool_call,
                 .text = {},
                 .call_id = piece.id,
                 .call_name = piece.name});
  }
  if (piece.arguments.empty()) return;
  blocks_.back().text += piece.arguments;
  block_grows(blocks_.back(), piece.arguments);
}

void BlockResponder::begin_block(AnswerBlock block) {
  end_block();
  block.index = blocks_.size();
  blocks_.push_back(std::move(block));
  block_is_open_ = true;
  block_begins(blocks_.back());
}

void BlockResponder::end_block() {
  if (!std::exchange(block_is_open_, false)) return;
  block_ends(blocks_.back());
}

json::object arguments_of(const AnswerBlock& call) {
  const auto value = parse_json(call.text);
  return value && value->is_object() ? value->get_object() : json::object();
}

}  // namespace tetrad::api
