#include "api/response_limits.h"

#include <string_view>

namespace tetrad::api {
namespace {

// One log probability is about 100 bytes of JSON.
constexpr int64_t kMaxWholeLogprobs = 262'144;
constexpr int64_t kMaxStreamedLogprobs = 4096;
constexpr int64_t kMaxStreamedEchoBytes = 256 << 10;

}  // namespace

Result<void> check_prompt_report(const PromptReport& report) {
  const auto echo_bytes = static_cast<int64_t>(report.echo_bytes) * report.num_answers;
  if (report.stream && echo_bytes > kMaxStreamedEchoBytes) {
    return fail_param("echo",
                      "\"echo\" of {} bytes is more than the {} a stream can begin with; leave "
                      "\"echo\" or \"stream\" out",
                      echo_bytes, kMaxStreamedEchoBytes);
  }
  if (!report.prompt_logprobs) return {};
  const int64_t count =
      report.num_prompt_tokens * report.num_answers * (1 + *report.prompt_logprobs);
  const int64_t most = report.stream ? kMaxStreamedLogprobs : kMaxWholeLogprobs;
  if (count <= most) return {};
  return fail_param("prompt",
                    "the prompt has {} tokens; {} log probabilities of them are asked for, more "
                    "than the {} that a {} may hold: ask for fewer, or for less of the prompt",
                    report.num_prompt_tokens, count, most, report.stream ? "stream" : "response");
}

}  // namespace tetrad::api
