#include "bench/agent_workload.h"

#include <utility>

#include "bench/agent_script.h"

namespace tetrad::bench {
namespace {

constexpr int64_t kTurnsPerTask = 5;
// Streams of random numbers: each turn of each session has its own, so that what is drawn does not
// depend on what the server answered.
constexpr uint64_t kMaxTurns = 1 << 16;
constexpr uint64_t kSystemStream = uint64_t{1} << 62;

/// Without calls whose arguments were cut off: a server may refuse a history with one.
json::array usable_calls(const json::array& calls) {
  json::array usable;
  for (const json::value& call : calls) {
    const json::value* arguments = call.at("function").if_object()->if_contains("arguments");
    const auto parsed = parse_json(std::string_view(arguments->get_string()));
    if (parsed && parsed->is_object()) usable.push_back(call);
  }
  return usable;
}

json::object assistant_message(const Answer& answer, const json::array& calls) {
  json::object message{{"role", "assistant"}, {"content", answer.content}};
  if (answer.has_reasoning_field) message["reasoning"] = answer.reasoning;
  if (answer.has_reasoning_content_field) message["reasoning_content"] = answer.reasoning;
  if (!calls.empty()) message["tool_calls"] = calls;
  return message;
}

class AgentSession final : public Session {
 public:
  AgentSession(const RequestSettings& settings, const AgentShape& shape, const json::array& tools,
               std::string_view system_prompt, uint64_t index)
      : settings_(settings), shape_(shape), tools_(tools), index_(index) {
    messages_.push_back(json::object{{"role", "system"}, {"content", system_prompt}});
  }

  std::optional<ApiRequest> next(const Answer* previous) override {
    if (turn_ == shape_.num_turns) return std::nullopt;
    Random random(settings_.seed, index_ * kMaxTurns + turn_);
    const bool is_task = turn_ % kTurnsPerTask == 0;
    if (previous != nullptr) append_answer(*previous, /*needs_call=*/!is_task, random);
    if (is_task)
      messages_.push_back(json::object{{"role", "user"}, {"content", agent_task(random)}});
    ++turn_;
    ApiRequest request{.target = "/v1/chat/completions",
                       .body = settings_.body(shape_.output_len),
                       .max_tokens = shape_.output_len};
    request.body["messages"] = messages_;
    request.body["tools"] = tools_;
    return request;
  }

 private:
  void append_answer(const Answer& answer, bool needs_call, Random& random) {
    json::array calls = usable_calls(answer.tool_calls);
    if (calls.empty() && needs_call) {
      calls.push_back(agent_tool_call(random, fmt::format("call_{}_{}", index_, turn_)));
    }
    messages_.push_back(assistant_message(answer, calls));
    for (const json::value& call : calls) {
      messages_.push_back(json::object{{"role", "tool"},
                                       {"tool_call_id", call.at("id")},
                                       {"content", agent_tool_result(random, shape_.result_len)}});
    }
  }

  const RequestSettings& settings_;
  const AgentShape& shape_;
  const json::array& tools_;
  const uint64_t index_;
  int64_t turn_ = 0;
  json::array messages_;
};

class AgentWorkload final : public Workload {
 public:
  AgentWorkload(RequestSettings settings, AgentShape shape)
      : settings_(std::move(settings)), shape_(shape), tools_(agent_tools()) {
    Random random(settings_.seed, kSystemStream);
    system_prompt_ = agent_system_prompt(random, shape_.prefix_len);
  }

  int64_t turns_per_session() const override { return shape_.num_turns; }

  std::unique_ptr<Session> session(uint64_t index) const override {
    return std::make_unique<AgentSession>(settings_, shape_, tools_, system_prompt_, index);
  }

 private:
  const RequestSettings settings_;
  const AgentShape shape_;
  const json::array tools_;
  std::string system_prompt_;
};

}  // namespace

Result<std::unique_ptr<Workload>> make_agent_workload(RequestSettings settings, AgentShape shape) {
  if (shape.num_turns < 1 || std::cmp_greater(shape.num_turns, kMaxTurns)) {
    return fail_param("--num-turns", "--num-turns must be from 1 to {}", kMaxTurns);
  }
  if (shape.prefix_len < 0 || shape.result_len < 0 || shape.output_len < 1) {
    return fail(ErrorCode::invalid_argument,
                "--agent-prefix-len and --agent-result-len must not be negative, and "
                "--agent-output-len must be at least 1");
  }
  return std::make_unique<AgentWorkload>(std::move(settings), shape);
}

}  // namespace tetrad::bench
