#pragma once

// From the engine's events to an answer. One stream of AnswerEvents feeds both the streamed and the
// whole response, so that the two cannot differ.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "chat/reasoning.h"
#include "engine/request.h"

namespace tetrad::api {

/// One step's news of an answer.
struct AnswerEvent {
  std::string reasoning;  // new since the last event
  std::string content;
  int64_t num_tokens = 0;
  int64_t num_reasoning_tokens = 0;  // of num_tokens
  /// Set with the last event.
  std::optional<FinishReason> finish_reason;
  std::optional<std::string> stop_reason;
  std::optional<Error> error;
};

/// Receives the events of one answer, on the engine's thread.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  virtual void on_answer(AnswerEvent event) = 0;
};

/// Where in the response the thinking goes.
enum class ReasoningMode {
  split,         // its own field
  append_think,  // stays in the content, with the `<think>` that the prompt ended with in front
  plain,         // there is none: text completions
};

/// Tells thinking from answering.
class AnswerReader final : public EventSink {
 public:
  /// `starts_in_reasoning`: the prompt ended inside a think block.
  AnswerReader(ReasoningMode mode, bool starts_in_reasoning, std::shared_ptr<AnswerSink> sink);

  void on_event(GenerationEvent event) override;

 private:
  std::optional<ReasoningSplitter> splitter_;
  std::string prefix_;  // of the content, until it has been sent
  std::shared_ptr<AnswerSink> sink_;
};

}  // namespace tetrad::api
