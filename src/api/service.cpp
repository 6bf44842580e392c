#include "api/service.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include "api/answer_gate.h"
#include "api/responders.h"
#include "api/response_limits.h"
#include "api/token_fields.h"
#include "base/log.h"
#include "base/metrics.h"

namespace tetrad::api {
namespace {

int64_t seconds_since_1970() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

/// Unguessable, so that ids tell nothing about other clients.
std::string new_id(std::string_view prefix) {
  std::random_device entropy;
  return fmt::format("{}{:08x}{:08x}{:08x}{:08x}", prefix, entropy(), entropy(), entropy(),
                     entropy());
}

JsonResponse ok(const json::object& body) {
  return {.status = 200, .body = to_json_text(body)};
}

/// A conversation that is too much for the template's limits stays too much: not a case for trying
/// again, which ErrorCode::resource_exhausted would mean to a client.
Error as_client_error(Error error) {
  if (error.code == ErrorCode::resource_exhausted) error.code = ErrorCode::invalid_argument;
  if (error.param.empty()) error.param = "messages";
  return error;
}

}  // namespace

void UnknownFieldLog::note(const std::vector<std::string>& names) {
  constexpr size_t kMaxNames = 64;
  constexpr size_t kMaxNameBytes = 64;
  const std::scoped_lock lock(mutex_);
  for (const std::string& name : names) {
    if (seen_.size() >= kMaxNames || name.size() > kMaxNameBytes) continue;
    if (!seen_.insert(name).second) continue;
    // As JSON text: a name may hold line breaks that would forge log lines.
    log::warn("requests carry the unknown field {}; it is ignored",
              to_json_text(json::value(name)));
  }
}

Service::Service(Engine& engine, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                 ServiceOptions options)
    : engine_(engine),
      tokenizer_(tokenizer),
      chat_template_(chat_template),
      options_(std::move(options)),
      api_keys_(options_.api_keys),
      started_(seconds_since_1970()) {}

std::optional<JsonResponse> Service::refuse(const RequestHead& head) const {
  if (!is_open_to_all(head.target) && !api_keys_.admit(head.authorization)) {
    JsonResponse response = error_response(
        401, "a valid API key is needed: send it as Authorization: Bearer KEY", "invalid_api_key");
    response.headers.push_back({"WWW-Authenticate", "Bearer"});
    return response;
  }
  auto destination = route(head);
  if (auto* refusal = std::get_if<JsonResponse>(&destination)) return std::move(*refusal);
  return std::nullopt;
}

void Service::handle(HttpRequest request, std::shared_ptr<ResponseWriter> writer) {
  if (auto refusal = refuse(request.head)) {
    writer->send(std::move(*refusal));
    return;
  }
  const auto destination = std::get<Destination>(route(request.head));
  ApiResult<void> result;
  switch (destination.endpoint) {
    case Endpoint::chat_completions:
      result = chat(request, writer);
      break;
    case Endpoint::completions:
      result = complete(request, writer);
      break;
    case Endpoint::models:
      writer->send(models());
      break;
    case Endpoint::model:
      writer->send(model(destination.argument));
      break;
    case Endpoint::health:
      writer->send(ok({{"status", "ok"}}));
      break;
    case Endpoint::version:
      writer->send(ok(options_.version));
      break;
    case Endpoint::load:
      writer->send(load());
      break;
    case Endpoint::metrics:
      writer->send(metrics());
      break;
  }
  if (result) return;
  const Error& error = result.error().error;
  if (http_status(error.code) == 500) log::error("request failed: {}", error.message);
  writer->send(error_response(result.error()));
}

ApiResult<void> Service::chat(const HttpRequest& http, const Writer& writer) {
  TETRAD_ASSIGN(const ChatRequest request, parse_chat_request(http.body));
  unknown_fields_.note(request.common.unknown_fields);
  TETRAD_ASSIGN(std::string model, choose_model(request.common.model));
  TETRAD_ASSIGN(const ChatPrompt rendered,
                render_chat(chat_template_, tokenizer_, request.input).map_error(as_client_error));
  Prompt prompt{.ids = {},
                .mode = options_.reasoning_mode,
                .starts_in_reasoning = rendered.starts_in_reasoning,
                .cache_salt = salt(http.head, request.common)};
  TETRAD_ASSIGN(prompt.ids, encode_prompt(tokenizer_, rendered));
  AnswerHeader header = answer_header(Dialect::chat, std::move(model), request.common);
  header.include_reasoning = request.include_reasoning;
  return generate(request.common, std::move(prompt), std::move(header), writer);
}

ApiResult<void> Service::complete(const HttpRequest& http, const Writer& writer) {
  TETRAD_ASSIGN(CompletionRequest request, parse_completion_request(http.body));
  unknown_fields_.note(request.common.unknown_fields);
  TETRAD_ASSIGN(std::string model, choose_model(request.common.model));
  Prompt prompt{.cache_salt = salt(http.head, request.common)};
  std::string text;
  if (auto* ids = std::get_if<std::vector<TokenId>>(&request.prompt)) {
    prompt.ids = std::move(*ids);
    if (request.echo) text = tokenizer_.decode(prompt.ids, /*skip_special_tokens=*/false);
  } else {
    text = std::move(std::get<std::string>(request.prompt));
    TETRAD_ASSIGN(prompt.ids, tokenizer_.encode(text));
  }
  if (request.echo) {
    prompt.echo = {.text = std::move(text), .ids = prompt.ids, .alone = request.only_echo};
  }
  return generate(request.common, std::move(prompt),
                  answer_header(Dialect::completion, std::move(model), request.common), writer);
}

ApiResult<void> Service::generate(const CommonRequest& request, Prompt prompt, AnswerHeader header,
                                  const Writer& writer) {
  const auto num_prompt_tokens = static_cast<int64_t>(prompt.ids.size());
  auto sampling = fit_sampling(request, prompt, header.dialect);
  if (!sampling) return tl::unexpected<ApiError>(std::move(sampling.error()));
  AnswerFormat format(std::move(header), tokenizer_);
  std::shared_ptr<Responder> responder;
  if (request.stream) {
    responder = std::make_shared<StreamResponder>(std::move(format), num_prompt_tokens, writer);
  } else {
    responder = std::make_shared<WholeResponder>(std::move(format), num_prompt_tokens, writer);
  }
  auto gate = std::make_shared<AnswerGate>(std::move(responder), request.num_answers);
  AnswerPlan plan{.mode = prompt.mode,
                  .starts_in_reasoning = prompt.starts_in_reasoning,
                  .echo = std::move(prompt.echo),
                  .skip_special_tokens = request.sampling.skip_special_tokens,
                  .logprobs = request.sampling.logprobs,
                  .prompt_logprobs = request.sampling.prompt_logprobs};
  auto ids = submit_all({.prompt_ids = std::move(prompt.ids),
                         .sampling = std::move(*sampling),
                         .priority = request.priority,
                         .cache_salt = std::move(prompt.cache_salt)},
                        std::move(plan), request.num_answers, gate);
  if (!ids) {
    gate->close();
    return tl::unexpected<ApiError>(std::move(ids.error()));
  }
  const auto cancel = [&engine = engine_, running = std::move(*ids)] {
    for (const RequestId id : running)
      engine.cancel(id);
  };
  gate->open(cancel);
  writer->on_disconnect(cancel);
  return {};
}

Result<std::vector<RequestId>> Service::submit_all(const GenerationRequest& request,
                                                   AnswerPlan plan, int64_t num_answers,
                                                   const std::shared_ptr<AnswerSink>& sink) {
  std::vector<RequestId> ids;
  for (; plan.index < num_answers; ++plan.index) {
    GenerationRequest one = request;
    // With one seed for all, the answers would be the same.
    if (one.sampling.seed) *one.sampling.seed += static_cast<uint64_t>(plan.index);
    auto id =
        engine_.submit(std::move(one), std::make_shared<AnswerReader>(tokenizer_, plan, sink));
    if (!id) {
      for (const RequestId accepted : ids)
        engine_.cancel(accepted);
      return tl::unexpected<Error>(std::move(id.error()));
    }
    ids.push_back(*id);
  }
  return ids;
}

std::string Service::salt(const RequestHead& head, const CommonRequest& request) const {
  return cache_salt(options_.prefix_sharing, api_keys_, head.authorization, request.cache_salt);
}

Result<std::string> Service::choose_model(const std::optional<std::string>& name) const {
  const std::vector<std::string>& names = options_.model_names;
  if (!name) return names.front();
  if (std::ranges::find(names, *name) != names.end()) return *name;
  return tl::unexpected<Error>(
      Error{ErrorCode::not_found,
            fmt::format("the model \"{}\" does not exist; this server has {}", *name,
                        fmt::join(names, ", ")),
            "model"});
}

ApiResult<SamplingParams> Service::fit_sampling(const CommonRequest& request, const Prompt& prompt,
                                                Dialect dialect) const {
  const SamplingRequest& stated = request.sampling;
  SamplingParams sampling = resolve(stated, options_.defaults);
  TETRAD_ASSIGN(sampling.bad_words, bad_word_tokens(tokenizer_, stated.bad_words));
  const auto num_prompt_tokens = static_cast<int64_t>(prompt.ids.size());
  const int64_t max_model_len = engine_.options().max_model_len;
  const int64_t room = max_model_len - num_prompt_tokens;
  const int64_t fewest = stated.max_tokens.value_or(1);
  if (fewest > room) {
    const std::string_view prompt_field = dialect == Dialect::chat ? "messages" : "prompt";
    Error error{ErrorCode::invalid_argument,
                fmt::format("the prompt has {} tokens and the answer needs {} or more: together "
                            "they exceed this server's maximum context length of {} tokens",
                            num_prompt_tokens, fewest, max_model_len),
                std::string(room < 1 ? prompt_field : "max_tokens")};
    return tl::unexpected<ApiError>(ApiError(std::move(error), "context_length_exceeded"));
  }
  // The model's default is a wish, not a demand: it yields to what fits.
  if (!stated.max_tokens) sampling.max_tokens = std::min(sampling.max_tokens, room);
  // An echoed prompt shows log probabilities like the rest of the text.
  if (prompt.echo && stated.logprobs) {
    sampling.prompt_logprobs = std::max(sampling.prompt_logprobs.value_or(0), *stated.logprobs);
  }
  TETRAD_TRY(check_prompt_report({.stream = request.stream,
                                  .num_answers = request.num_answers,
                                  .num_prompt_tokens = num_prompt_tokens,
                                  .echo_bytes = prompt.echo ? prompt.echo->text.size() : 0,
                                  .prompt_logprobs = sampling.prompt_logprobs}));
  return sampling;
}

AnswerHeader Service::answer_header(Dialect dialect, std::string model,
                                    const CommonRequest& request) const {
  return {.dialect = dialect,
          .id = new_id(dialect == Dialect::chat ? "chatcmpl-" : "cmpl-"),
          .created = seconds_since_1970(),
          .model = std::move(model),
          .system_fingerprint = options_.system_fingerprint,
          .include_usage = request.include_usage,
          .include_prompt_logprobs = request.sampling.prompt_logprobs.has_value(),
          .num_answers = request.num_answers};
}

json::object Service::model_object(const std::string& name) const {
  json::object object;
  object["id"] = name;
  object["object"] = "model";
  object["created"] = started_;
  object["owned_by"] = "tetrad";
  object["max_model_len"] = engine_.options().max_model_len;
  return object;
}

JsonResponse Service::models() const {
  json::array data;
  for (const std::string& name : options_.model_names)
    data.push_back(model_object(name));
  json::object list;
  list["object"] = "list";
  list["data"] = std::move(data);
  return ok(list);
}

JsonResponse Service::model(const std::string& name) const {
  const Result<std::string> known = choose_model(name);
  return known ? ok(model_object(*known)) : error_response(known.error());
}

JsonResponse Service::load() const {
  const Engine::Stats stats = engine_.stats();
  json::object object;
  object["running"] = stats.running;
  object["waiting"] = stats.waiting;
  return ok(object);
}

JsonResponse Service::metrics() const {
  return {.status = 200,
          .body = options_.metrics_text ? options_.metrics_text() : "",
          .content_type = std::string(metrics::Registry::kContentType)};
}

}  // namespace tetrad::api
