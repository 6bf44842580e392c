#pragma once

// An answer as a row of blocks, which is how the Responses API and Anthropic's see it.

#include <cstdint>
#include <string>
#include <vector>

#include "api/responders.h"

namespace tetrad::api {

struct AnswerBlock {
  enum class Kind { reasoning, text, tool_call };
  Kind kind = Kind::text;
  size_t index = 0;  // in the answer
  std::string text;  // of a call: its arguments, a JSON object
  std::string call_id;
  std::string call_name;
};

/// How an answer ended.
struct AnswerEnd {
  FinishReason reason = FinishReason::stop;
  std::optional<std::string> stop_string;
  bool calls_tools = false;
};

/// Answers one request in blocks. The events of one answer are folded into blocks, one after the
/// other: a new one begins whenever the kind changes, or the call. Who streams looks at every step,
/// who answers whole at the last one only; so that the two can't differ.
class BlockResponder : public Responder {
 public:
  /// `show_reasoning`: false leaves it out, but not out of the usage.
  BlockResponder(int64_t num_prompt_tokens, bool show_reasoning,
                 std::shared_ptr<ResponseWriter> writer);

  void accepted() override {}
  void on_answer(AnswerEvent event) final;

 protected:
  virtual void block_begins(const AnswerBlock& /*block*/) {}
  /// `delta` is at the end of the block's text already.
  virtual void block_grows(const AnswerBlock& /*block*/, const std::string& /*delta*/) {}
  virtual void block_ends(const AnswerBlock& /*block*/) {}
  /// After the last block.
  virtual void answer_ends(const AnswerEnd& end) = 0;
  virtual void answer_fails(const Error& error) = 0;

  const std::vector<AnswerBlock>& blocks() const { return blocks_; }
  const Usage& usage() const { return counter_.usage(); }
  ResponseWriter& writer() { return *writer_; }

 private:
  void grow(AnswerBlock::Kind kind, const std::string& delta);
  void grow_call(const AnswerToolCall& piece);
  void begin_block(AnswerBlock block);
  void end_block();

  UsageCounter counter_;
  const bool show_reasoning_;
  std::vector<AnswerBlock> blocks_;
  bool block_is_open_ = false;
  std::shared_ptr<ResponseWriter> writer_;
};

/// Every object of these dialects is a JSON object; an empty text is an empty one.
json::object arguments_of(const AnswerBlock& call);

}  // namespace tetrad::api
