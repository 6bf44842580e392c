#include "serve_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "byte_size_flag.h"
#include "cli_io.h"
#include "number_flag.h"

namespace tetrad {
namespace {

/// A flag of vLLM's that has no meaning here.
struct IdleFlag {
  const char* name;
  bool takes_value;
  const char* note;
};

constexpr IdleFlag kIdleFlags[] = {
    {"--trust-remote-code", false, "does nothing: this server runs no code from checkpoints"},
    {"--attention-backend", true, "does nothing: --kernels chooses the kernels"},
    {"--disable-cascade-attn", false, "does nothing: there is no cascade attention to disable"},
    {"--enable-auto-tool-choice", false,
     "does nothing yet: tool calls stay in the content as the model writes them"},
    {"--enable-expert-parallel", false, "does nothing: one process holds all experts"},
    {"--disable-custom-all-reduce", false, "does nothing: one process has nothing to reduce"},
    {"--enforce-eager", false, "does nothing: there are no graphs to capture"},
    {"--compilation-config", true, "does nothing: there is nothing to compile at start"},
    {"--enable-chunked-prefill", false, "is always so: long prompts are computed in pieces"},
};

void add_idle_flags(CLI::App& verb, ServeFlags& flags) {
  for (const IdleFlag& idle : kIdleFlags) {
    const auto note = [&flags, &idle] {
      flags.notes.push_back(fmt::format("{} {}", idle.name, idle.note));
    };
    CLI::Option* option = nullptr;
    if (idle.takes_value) {
      option = verb.add_option_function<std::string>(
          idle.name, [note](const std::string&) { note(); }, idle.note);
    } else {
      option = verb.add_flag_callback(idle.name, note, idle.note);
    }
    option->group("Accepted from vLLM's command line");
  }
}

}  // namespace

void add_serve_flags(CLI::App& verb, ServeFlags& flags) {
  add_model_flags(verb, flags.model);
  verb.add_option("--served-model-name", flags.served_model_names,
                  "names clients may use for the model (default: the folder's name)");
  verb.add_option("--host", flags.host, "address to listen on")->capture_default_str();
  verb.add_option("--port", flags.port, "port to listen on; 0: any free one")
      ->transform(as_whole_number({.from = 0, .to = 65535}))
      ->capture_default_str();
  verb.add_option("--api-key", flags.api_keys,
                  "key that clients must send; may be given several times, or as TETRAD_API_KEY in "
                  "the environment, where other users' process lists do not show it");
  verb.add_flag("--allow-unauthenticated", flags.allow_unauthenticated,
                "serve other machines without a key");
  add_engine_flags(verb, flags.engine);
  verb.add_option("--reasoning-parser", flags.reasoning_parser,
                  "minimax_m2: thinking comes as `reasoning` and `reasoning_content`; "
                  "minimax_m2_append_think: it stays in the content between think tags")
      ->check(CLI::IsMember(
          {"minimax_m2", "minimax", "minimax_m2_append_think", "minimax-append-think"}))
      ->capture_default_str();
  verb.add_option("--tool-call-parser", flags.tool_call_parser,
                  "minimax_m2; does nothing yet: tool calls stay in the content")
      ->check(CLI::IsMember({"minimax_m2", "minimax-m2"}));
  verb.add_option("--override-generation-config", flags.override_generation_config,
                  R"(JSON laid over generation_config.json: '{"temperature": 0.7}')");
  verb.add_option("--show-hidden-metrics-for-version", flags.show_hidden_metrics,
                  "any version: /metrics has vLLM's older names too, such as "
                  "vllm:gpu_cache_usage_perc");
  verb.add_option("--tensor-parallel-size,--tp", flags.tensor_parallel_size,
                  "1: this process alone; also as -tp, vLLM's short form")
      ->transform(as_whole_number({.from = 1}));
  verb.add_option("--max-connections", flags.max_connections, "more are answered 503")
      ->transform(as_whole_number({.from = 1, .to = 65536}))
      ->capture_default_str();
  verb.add_option("--max-body-size", flags.max_body_bytes, "largest request body (32MB)")
      ->transform(as_byte_size());
  verb.add_option(
          "--shutdown-timeout", flags.shutdown_timeout_seconds,
          "seconds that running requests may go on after SIGINT or SIGTERM; a second signal "
          "ends at once")
      ->transform(as_whole_number({.from = 0, .to = 86400}))
      ->capture_default_str();
  add_idle_flags(verb, flags);
}

Result<void> check_serve_flags(const ServeFlags& flags) {
  for (const auto& [flag, words] : {std::pair{"--api-key", &flags.api_keys},
                                    std::pair{"--served-model-name", &flags.served_model_names}}) {
    if (std::ranges::find(*words, "") != words->end()) {
      return fail_param(flag, "{} must not be empty", flag);
    }
  }
  if (flags.tensor_parallel_size != 1) {
    return fail_param("--tensor-parallel-size",
                      "--tensor-parallel-size {}: more than one rank is not yet supported",
                      flags.tensor_parallel_size);
  }
  return {};
}

Result<api::SamplingDefaults> sampling_defaults(const ServeFlags& flags,
                                                const LoadedModel& loaded) {
  const GenerationDefaults& file = loaded.checkpoint->generation_defaults();
  api::SamplingDefaults defaults{.temperature = file.temperature,
                                 .top_p = file.top_p,
                                 .min_p = file.min_p,
                                 .top_k = file.top_k,
                                 .repetition_penalty = file.repetition_penalty,
                                 .max_tokens = file.max_new_tokens};
  if (flags.override_generation_config.empty()) return defaults;
  constexpr std::string_view kFlag = "--override-generation-config";
  auto value = parse_json(flags.override_generation_config);
  if (!value) return tl::unexpected(at_flag(std::move(value.error()), kFlag));
  if (!value->is_object()) return fail_param(kFlag, "{}: this is not a JSON object", kFlag);
  if (auto done = api::override_defaults(defaults, value->get_object()); !done) {
    return tl::unexpected(at_flag(std::move(done.error()), kFlag));
  }
  return defaults;
}

http::ServerOptions server_options(const ServeFlags& flags) {
  http::ServerOptions options;
  options.host = flags.host;
  options.port = flags.port;
  options.loopback_only = flags.api_keys.empty() && !flags.allow_unauthenticated;
  options.max_connections = flags.max_connections;
  options.max_body_bytes = flags.max_body_bytes;
  options.shutdown_timeout = std::chrono::seconds(flags.shutdown_timeout_seconds);
  return options;
}

}  // namespace tetrad
