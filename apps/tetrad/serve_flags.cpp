#include "serve_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/mapped_file.h"
#include "byte_size_flag.h"
#include "cli_io.h"
#include "kv_events/zmq_publisher.h"
#include "number_flag.h"
#include "vllm_flags.h"

namespace tetrad {
namespace {

void add_network_flags(CLI::App& verb, ServeFlags& flags) {
  verb.add_option("--host", flags.host, "address to listen on")->capture_default_str();
  verb.add_option("--port", flags.port, "port to listen on; 0: any free one")
      ->transform(as_whole_number({.from = 0, .to = 65535}))
      ->capture_default_str();
  verb.add_option("--ssl-certfile", flags.tls.certificate_chain,
                  "serve HTTPS with this certificate, a PEM file");
  verb.add_option("--ssl-keyfile", flags.tls.private_key, "the certificate's private key, in PEM");
  verb.add_option("--max-connections", flags.max_connections, "more are answered 503")
      ->transform(as_whole_number({.from = 1, .to = 65536}))
      ->capture_default_str();
  verb.add_option("--max-body-size", flags.max_body_bytes, "largest request body (32MB)")
      ->transform(as_byte_size());
  verb.add_option("--drain-delay", flags.drain_delay_seconds,
                  "seconds after SIGINT or SIGTERM in which /ready says 503 and new requests are "
                  "still taken, so that a gateway looks elsewhere before any is refused")
      ->transform(as_whole_number({.from = 0, .to = 3600}))
      ->capture_default_str();
  verb.add_option(
          "--shutdown-timeout", flags.shutdown_timeout_seconds,
          "seconds that running requests may go on after SIGINT or SIGTERM; a second signal "
          "ends at once")
      ->transform(as_whole_number({.from = 0, .to = 86400}))
      ->capture_default_str();
}

void add_access_flags(CLI::App& verb, ServeFlags& flags) {
  verb.add_option("--api-key", flags.api_keys,
                  "key that clients must send; may be given several times, or as TETRAD_API_KEY or "
                  "VLLM_API_KEY in the environment, where other users' process lists do not show "
                  "it");
  verb.add_option("--api-key-file", flags.api_key_files,
                  "file of keys, one a line; lines that begin with # do not count")
      ->allow_extra_args(false);
  verb.add_flag("--allow-unauthenticated", flags.allow_unauthenticated,
                "serve other machines without a key");
  verb.add_option("--allowed-origins", flags.allowed_origins,
                  R"(web pages that may read answers (CORS): '["https://chat.example"]', or with )"
                  "commas; * lets every page; without it none may")
      ->allow_extra_args(false);
  verb.add_option("--allowed-methods", flags.allowed_methods,
                  "methods that such pages may use [those there are]");
  verb.add_option("--allowed-headers", flags.allowed_headers,
                  "headers that such pages may send [all]");
  verb.add_flag("--allow-credentials", flags.allow_credentials,
                "such pages may send cookies and certificates of their visitor's");
}

void add_text_flags(CLI::App& verb, ServeFlags& flags) {
  verb.add_option("--chat-template", flags.chat_template,
                  "file with a chat template (Jinja), instead of the checkpoint's; or its text");
  verb.add_option("--reasoning-parser", flags.reasoning_parser,
                  "minimax_m2 (or minimax): thinking comes as `reasoning` and `reasoning_content`; "
                  "minimax_m2_append_think: it stays in the content between think tags")
      ->check(CLI::IsMember({"minimax_m2", "minimax-m2", "minimax", "minimax_m2_append_think",
                             "minimax-m2-append-think", "minimax-append-think"}))
      ->capture_default_str();
  verb.add_option("--tool-call-parser", flags.tool_call_parser,
                  "minimax_m2, the model's own form, which is always understood")
      ->check(CLI::IsMember({"minimax_m2", "minimax-m2", "minimax"}));
  verb.add_option("--generation-config", flags.generation_config,
                  "auto: what a request leaves open comes from the checkpoint's "
                  "generation_config.json; vllm: it is the OpenAI API's")
      ->check(CLI::IsMember({"auto", "vllm"}))
      ->capture_default_str();
  verb.add_option("--override-generation-config", flags.override_generation_config,
                  R"(JSON laid over generation_config.json: '{"temperature": 0.7}')");
  verb.add_option("--stream-interval", flags.stream_interval,
                  "tokens that an event of a stream carries at least, but the first")
      ->transform(as_whole_number({.from = 1, .to = 4096}))
      ->capture_default_str();
  verb.add_option("--tokenizer", flags.tokenizer,
                  "the model's folder: there is no other tokenizer for it");
}

Result<api::Cors> read_cors(const ServeFlags& flags) {
  api::CorsOptions options;
  for (const std::string& text : flags.allowed_origins) {
    TETRAD_ASSIGN(const auto origins, api::parse_cors_list("--allowed-origins", text));
    options.origins.insert(options.origins.end(), origins.begin(), origins.end());
  }
  TETRAD_ASSIGN(options.methods, api::parse_cors_list("--allowed-methods", flags.allowed_methods));
  TETRAD_ASSIGN(options.headers, api::parse_cors_list("--allowed-headers", flags.allowed_headers));
  options.allow_credentials = flags.allow_credentials;
  return api::Cors::from(std::move(options));
}

/// The tokenizer belongs to the model; vLLM's flag may say so.
Result<void> check_tokenizer(const ServeFlags& flags) {
  if (flags.tokenizer.empty()) return {};
  std::error_code ec;
  if (std::filesystem::equivalent(flags.tokenizer, flags.model.model, ec)) return {};
  return fail_param("--tokenizer", "--tokenizer {}: the tokenizer is the one in the model's folder",
                    flags.tokenizer);
}

}  // namespace

void add_serve_flags(CLI::App& verb, ServeFlags& flags) {
  add_model_flags(verb, flags.model);
  verb.add_option("--served-model-name", flags.served_model_names,
                  "names clients may use for the model (default: the folder's name)");
  add_network_flags(verb, flags);
  add_access_flags(verb, flags);
  add_engine_flags(verb, flags.engine);
  add_text_flags(verb, flags);
  verb.add_flag("--disable-log-stats", flags.disable_log_stats,
                "no status line in the log while requests run; /metrics has the same");
  verb.add_option("--show-hidden-metrics-for-version", flags.show_hidden_metrics,
                  "any version: /metrics has vLLM's older names too, such as "
                  "vllm:gpu_cache_usage_perc");
  verb.add_option("--kv-events-config", flags.kv_events_config,
                  R"(tell over ZeroMQ what the prefix cache has, for gateways that route by it: )"
                  R"('{"enable_kv_cache_events": true, "endpoint": "tcp://127.0.0.1:5557"}')");
  add_vllm_flags(verb, flags.notes);
}

Result<std::optional<kv_events::KvEventsConfig>> kv_events_config(const ServeFlags& flags) {
  if (flags.kv_events_config.empty()) return std::nullopt;
  TETRAD_ASSIGN(auto config, kv_events::parse_kv_events_config(flags.kv_events_config));
  if (!config.enabled) return std::nullopt;
  TETRAD_TRY(kv_events::check_has_kv_events());
  if (!flags.engine.enable_prefix_caching) {
    return fail_param("--kv-events-config",
                      "--kv-events-config: with --no-enable-prefix-caching there is no cache whose "
                      "blocks others could use");
  }
  if (!flags.allow_unauthenticated) TETRAD_TRY(kv_events::check_is_local(config));
  return config;
}

Result<void> check_serve_flags(const ServeFlags& flags) {
  const std::vector<std::string>& names = flags.served_model_names;
  if (std::ranges::find(names, "") != names.end()) {
    return fail_param("--served-model-name", "--served-model-name must not be empty");
  }
  TETRAD_TRY(check_tokenizer(flags));
  TETRAD_TRY(kv_events_config(flags));
  TETRAD_TRY(server_options(flags));
  if (flags.tls.enabled()) TETRAD_TRY(http::make_tls_context(flags.tls));
  return {};
}

Result<api::SamplingDefaults> sampling_defaults(const ServeFlags& flags,
                                                const LoadedModel& loaded) {
  const GenerationDefaults file = flags.generation_config == "auto"
                                      ? loaded.checkpoint->generation_defaults()
                                      : GenerationDefaults();
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

bool is_text_of_a_template(const std::string& word) {
  return word.find("{{") != std::string::npos || word.find("{%") != std::string::npos;
}

Result<ChatTemplate> chat_template(const ServeFlags& flags, const LoadedModel& loaded) {
  const std::string& given = flags.chat_template;
  if (given.empty()) return ChatTemplate::from_folder(loaded.folder);
  constexpr std::string_view kFlag = "--chat-template";
  std::string source = given;
  if (!is_text_of_a_template(given)) {
    auto text = read_text_file(given);
    if (!text) return tl::unexpected<Error>(std::move(text.error()).in(kFlag));
    source = std::move(*text);
  }
  auto compiled = ChatTemplate::from_text(source, loaded.folder);
  if (!compiled) return tl::unexpected(at_flag(std::move(compiled.error()), kFlag));
  return compiled;
}

Result<http::ServerOptions> server_options(const ServeFlags& flags) {
  http::ServerOptions options;
  options.host = flags.host;
  options.port = flags.port;
  options.loopback_only = flags.api_keys.empty() && !flags.allow_unauthenticated;
  options.tls = flags.tls;
  TETRAD_ASSIGN(options.cors, read_cors(flags));
  options.max_connections = flags.max_connections;
  options.max_body_bytes = flags.max_body_bytes;
  options.drain_delay = std::chrono::seconds(flags.drain_delay_seconds);
  options.shutdown_timeout = std::chrono::seconds(flags.shutdown_timeout_seconds);
  return options;
}

}  // namespace tetrad
