#pragma once

// The command line of `tetrad serve`. It is vLLM's, so that a model card's command starts here too.

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "api/sampling_request.h"
#include "chat/template.h"
#include "engine_flags.h"
#include "http/server.h"
#include "kv_events/kv_events_config.h"
#include "loaded_model.h"

namespace tetrad {

struct ServeFlags {
  ModelFlags model;
  std::vector<std::string> served_model_names;
  std::string host = "127.0.0.1";
  uint16_t port = 8000;
  http::TlsFiles tls;
  std::vector<std::string> api_keys;
  std::vector<std::string> api_key_files;
  bool allow_unauthenticated = false;
  std::vector<std::string> allowed_origins;  // each a list
  std::string allowed_methods = "*";
  std::string allowed_headers = "*";
  bool allow_credentials = false;

  EngineFlags engine;
  std::string reasoning_parser = "minimax_m2";
  std::string tool_call_parser;
  std::string chat_template;  // a file or a text; "": the checkpoint's
  std::string generation_config = "auto";
  std::string override_generation_config;
  std::string tokenizer;
  int64_t stream_interval = 1;
  std::string show_hidden_metrics;
  bool disable_log_stats = false;
  std::string kv_events_config;  // JSON; "": none

  int64_t max_connections = http::ServerOptions{}.max_connections;
  uint64_t max_body_bytes = http::ServerOptions{}.max_body_bytes;
  int64_t drain_delay_seconds = 0;
  int64_t shutdown_timeout_seconds = 30;

  /// What to say about the given flags that do nothing here, one line each.
  std::vector<std::string> notes;
};

void add_serve_flags(CLI::App& verb, ServeFlags& flags);

/// What can be known without a model. Errors name the flag.
Result<void> check_serve_flags(const ServeFlags& flags);

/// --kv-events-config; none where there are to be no events. Errors name the flag.
Result<std::optional<kv_events::KvEventsConfig>> kv_events_config(const ServeFlags& flags);

/// The flags' effect. Errors name the flag.
Result<api::SamplingDefaults> sampling_defaults(const ServeFlags& flags, const LoadedModel& loaded);
Result<ChatTemplate> chat_template(const ServeFlags& flags, const LoadedModel& loaded);
Result<http::ServerOptions> server_options(const ServeFlags& flags);

}  // namespace tetrad
