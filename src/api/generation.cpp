#include "api/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "api/answer_gate.h"
#include "api/continued_message.h"
#include "api/random_id.h"
#include "api/response_limits.h"
#include "api/token_fields.h"
#include "engine/event_batcher.h"

namespace tetrad::api {
namespace {

/// Where a dialect has the prompt and the length of the answer.
struct LengthFields {
  std::string_view prompt;
  std::string_view max_tokens;
};

LengthFields length_fields(Dialect dialect) {
  switch (dialect) {
    case Dialect::completion:
      return {"prompt", "max_tokens"};
    case Dialect::responses:
      return {"input", "max_output_tokens"};
    case Dialect::chat:
    case Dialect::messages:
      break;
  }
  return {"messages", "max_tokens"};
}

/// A conversation that is too much for the template's limits stays too much: not a case for trying
/// again, which ErrorCode::resource_exhausted would mean to a client.
Error as_client_error(Error error, Dialect dialect) {
  if (error.code == ErrorCode::resource_exhausted) error.code = ErrorCode::invalid_argument;
  // What is said of messages[3] holds for the client's messages in one dialect only.
  if (error.param.empty() || dialect != Dialect::chat) {
    error.param = length_fields(dialect).prompt;
  }
  return error;
}

/// What ends an answer, or keeps it from its end, leaves the last word to the answer's form.
Result<void> check_form(const CommonRequest& request, const AnswerDemands& demands) {
  if (!demands.has_form()) return {};
  const std::string& form =
      demands.tool_choice.forces_call() ? "tool_choice" : demands.output.param;
  const auto exclude = [&form](std::string_view field) {
    return fail_param(field, "\"{}\" and \"{}\" exclude each other", field, form);
  };
  if (request.sampling.ignore_eos) return exclude("ignore_eos");
  if (request.sampling.min_tokens.value_or(0) > 0) return exclude("min_tokens");
  if (!request.sampling.allowed_token_ids.empty()) return exclude("allowed_token_ids");
  return {};
}

Error too_long(int64_t num_prompt_tokens, int64_t fewest, int64_t max_model_len, Dialect dialect) {
  const LengthFields fields = length_fields(dialect);
  // Anthropic's clients look for these words when they decide to shorten the conversation.
  const std::string_view lead = dialect == Dialect::messages ? "prompt is too long: " : "";
  return {ErrorCode::invalid_argument,
          fmt::format("{}the prompt has {} tokens and the answer needs {} or more: together they "
                      "exceed this server's maximum context length of {} tokens",
                      lead, num_prompt_tokens, fewest, max_model_len),
          std::string(num_prompt_tokens >= max_model_len ? fields.prompt : fields.max_tokens)};
}

void truncate_prompt(const ServiceContext& context, const CommonRequest& request,
                     RequestPrompt& prompt) {
  if (!request.truncate_prompt_tokens) return;
  const int64_t room =
      context.engine.options().max_model_len - request.sampling.max_tokens.value_or(1);
  const int64_t most = std::max<int64_t>(
      1, *request.truncate_prompt_tokens < 0 ? room : *request.truncate_prompt_tokens);
  if (std::cmp_less_equal(prompt.ids.size(), most)) return;
  prompt.ids.erase(prompt.ids.begin(), prompt.ids.end() - most);
  if (!prompt.echo) return;
  prompt.echo->ids = prompt.ids;
  prompt.echo->text = context.tokenizer.decode(prompt.ids, /*skip_special_tokens=*/false);
}

/// The sampling of one prompt: `sampling` is what holds for all of them.
ApiResult<SamplingParams> fit_sampling(const ServiceContext& context, const CommonRequest& request,
                                       SamplingParams sampling, const RequestPrompt& prompt,
                                       Dialect dialect) {
  const SamplingRequest& stated = request.sampling;
  const auto num_prompt_tokens = static_cast<int64_t>(prompt.ids.size());
  const int64_t max_model_len = context.engine.options().max_model_len;
  const int64_t room = max_model_len - num_prompt_tokens;
  // Anthropic's clients must say something, and say what their own models could; elsewhere a
  // stated number is a demand.
  const bool is_demand = stated.max_tokens && dialect != Dialect::messages;
  const int64_t fewest = is_demand ? *stated.max_tokens : 1;
  if (fewest > room) {
    return tl::unexpected<ApiError>(ApiError(
        too_long(num_prompt_tokens, fewest, max_model_len, dialect), "context_length_exceeded"));
  }
  if (!is_demand) sampling.max_tokens = std::min(sampling.max_tokens, room);
  // An echoed prompt shows log probabilities like the rest of the text.
  if (prompt.echo && stated.logprobs) {
    sampling.prompt_logprobs = std::max(sampling.prompt_logprobs.value_or(0), *stated.logprobs);
  }
  return sampling;
}

Result<void> check_report(const CommonRequest& request, const GenerationJob& job) {
  PromptReport report{.stream = request.stream,
                      .num_answers = job.answers_per_prompt,
                      .num_prompt_tokens = job.num_prompt_tokens(),
                      .prompt_logprobs = job.prompts.front().sampling.prompt_logprobs};
  for (const auto& echo : job.echoes)
    report.echo_bytes += echo ? echo->text.size() : 0;
  return check_prompt_report(report);
}

/// Submits one generation for each answer: all, or none and an error.
Result<std::vector<RequestId>> submit_all(ServiceContext& context, const GenerationJob& job,
                                          const std::shared_ptr<AnswerSink>& sink) {
  std::vector<RequestId> ids;
  AnswerPlan plan = job.plan;
  for (; plan.index < job.num_answers(); ++plan.index) {
    const auto prompt = static_cast<size_t>(plan.index / job.answers_per_prompt);
    const int64_t answer = plan.index % job.answers_per_prompt;
    plan.echo = job.echoes[prompt];
    GenerationRequest one = job.prompts[prompt];
    // With one seed for all, the answers to a prompt would be the same.
    if (one.sampling.seed) *one.sampling.seed += static_cast<uint64_t>(answer);
    std::shared_ptr<EventSink> reader =
        std::make_shared<AnswerReader>(context.tokenizer, plan, sink);
    if (context.options.stream_interval > 1) {
      reader = std::make_shared<EventBatcher>(std::move(reader), context.options.stream_interval);
    }
    auto id = context.engine.submit(std::move(one), std::move(reader));
    if (!id) {
      for (const RequestId accepted : ids)
        context.engine.cancel(accepted);
      return tl::unexpected<Error>(std::move(id.error()));
    }
    ids.push_back(*id);
  }
  return ids;
}

}  // namespace

int64_t seconds_since_1970() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

Result<std::string> choose_model(const ServiceOptions& options,
                                 const std::optional<std::string>& name) {
  const std::vector<std::string>& names = options.model_names;
  if (!name) return names.front();
  if (std::ranges::find(names, *name) != names.end()) return *name;
  return tl::unexpected<Error>(
      Error{ErrorCode::not_found,
            fmt::format("the model \"{}\" does not exist; this server has {}", *name,
                        fmt::join(names, ", ")),
            "model"});
}

std::string response_id(std::string_view prefix, const CommonRequest& request) {
  if (request.request_id.empty()) return random_id(prefix);
  return fmt::format("{}{}", prefix, request.request_id);
}

int64_t GenerationJob::num_prompt_tokens() const {
  int64_t count = 0;
  for (const GenerationRequest& prompt : prompts)
    count += static_cast<int64_t>(prompt.prompt_ids.size());
  return count;
}

Result<EncodedChat> encode_chat(const ServiceContext& context, const ChatRequest& request,
                                Dialect dialect) {
  const auto blame = [dialect](Error error) { return as_client_error(std::move(error), dialect); };
  TETRAD_ASSIGN(
      ChatPrompt prompt,
      render_chat(context.chat_template, context.tokenizer, request.input).map_error(blame));
  if (request.continue_final_message) {
    TETRAD_TRY(end_in_last_message(prompt, context.chat_template, context.tokenizer, request.input)
                   .map_error(blame));
  }
  EncodedChat chat{.text = {}, .ids = {}, .starts_in_reasoning = prompt.starts_in_reasoning};
  TETRAD_ASSIGN(chat.ids, encode_prompt(context.tokenizer, prompt));
  chat.text = std::move(prompt.text);
  return chat;
}

ApiResult<GenerationJob> prepare(ServiceContext& context, const RequestHead& head,
                                 const CommonRequest& request, std::vector<RequestPrompt> prompts,
                                 AnswerPlan plan, AnswerDemands demands, Dialect dialect) {
  demands.output = request.output;
  TETRAD_TRY(check_form(request, demands));
  TETRAD_ASSIGN(const auto constraint, context.constraints.compile(demands));
  GenerationJob job{.prompts = {},
                    .echoes = {},
                    .plan = std::move(plan),
                    .answers_per_prompt = request.num_answers};
  job.plan.skip_special_tokens = request.sampling.skip_special_tokens;
  job.plan.return_token_ids = request.return_token_ids;
  job.plan.logprobs = request.sampling.logprobs;
  job.plan.prompt_logprobs = request.sampling.prompt_logprobs;
  SamplingParams shared = resolve(request.sampling, context.options.defaults);
  TETRAD_ASSIGN(shared.bad_words, bad_word_tokens(context.tokenizer, request.sampling.bad_words));
  for (RequestPrompt& prompt : prompts) {
    truncate_prompt(context, request, prompt);
    auto sampling = fit_sampling(context, request, shared, prompt, dialect);
    if (!sampling) return tl::unexpected<ApiError>(std::move(sampling.error()));
    job.max_tokens_were_cut |= sampling->max_tokens < shared.max_tokens;
    job.prompts.push_back({.prompt_ids = std::move(prompt.ids),
                           .sampling = std::move(*sampling),
                           .priority = request.priority,
                           .cache_salt = cache_salt(context.options.prefix_sharing,
                                                    context.api_keys, head, request.cache_salt),
                           .constraint = constraint});
    job.echoes.push_back(std::move(prompt.echo));
  }
  TETRAD_TRY(check_report(request, job));
  return job;
}

ApiResult<GenerationJob> prepare_chat(ServiceContext& context, const RequestHead& head,
                                      const ChatRequest& request, Dialect dialect) {
  TETRAD_ASSIGN(EncodedChat chat, encode_chat(context, request, dialect));
  const bool is_chat = dialect == Dialect::chat;
  AnswerPlan plan{.mode = is_chat ? context.options.reasoning_mode : ReasoningMode::split,
                  .starts_in_reasoning = chat.starts_in_reasoning,
                  .tools = request.tools,
                  .parallel_tool_calls = request.parallel_tool_calls,
                  .echo = std::nullopt};
  std::vector<RequestPrompt> prompts;
  prompts.push_back({.ids = std::move(chat.ids), .echo = std::nullopt});
  AnswerDemands demands{.output = {},
                        .tools = request.tools,
                        .tool_choice = request.tool_choice,
                        .parallel_tool_calls = request.parallel_tool_calls,
                        .thinking_token_budget = request.thinking_token_budget,
                        .starts_in_reasoning = chat.starts_in_reasoning,
                        .is_chat = true};
  return prepare(context, head, request.common, std::move(prompts), std::move(plan),
                 std::move(demands), dialect);
}

ApiResult<void> start(ServiceContext& context, const GenerationJob& job,
                      std::shared_ptr<Responder> responder, ResponseWriter& writer) {
  auto gate = std::make_shared<AnswerGate>(std::move(responder), job.num_answers());
  auto ids = submit_all(context, job, gate);
  if (!ids) {
    gate->close();
    return tl::unexpected<ApiError>(std::move(ids.error()));
  }
  const auto pause = [&engine = context.engine, running = *ids](bool paused) {
    for (const RequestId id : running)
      paused ? engine.pause(id) : engine.resume(id);
  };
  const auto cancel = [&engine = context.engine, running = std::move(*ids)] {
    for (const RequestId id : running)
      engine.cancel(id);
  };
  gate->open(cancel);
  writer.on_disconnect(cancel);
  writer.on_backlog(pause);
  return {};
}

}  // namespace tetrad::api
