// tetrad serve MODEL: the OpenAI-compatible server.

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "api/metered_handler.h"
#include "api/service.h"
#include "api_key_flags.h"
#include "base/log.h"
#include "cli_io.h"
#include "engine/observer_list.h"
#include "kv_events/zmq_publisher.h"
#include "rank_session.h"
#include "serve_flags.h"
#include "serve_metrics.h"
#include "verbs.h"

namespace tetrad {
namespace {

constexpr const char* kServeExamples =
    "Examples:\n"
    "  tetrad serve models/tetrad-demo-mxfp4_16\n"
    "  TETRAD_API_KEY=secret tetrad serve MODEL --host 0.0.0.0 --served-model-name MiniMax-M2\n"
    "  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\\n"
    "    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"What is 47 + 385?\"}]}'";

/// The folder's own name, also for "models/x/" and ".".
std::string folder_name(const std::string& model) {
  std::error_code ec;
  const std::filesystem::path path = std::filesystem::canonical(model, ec);
  return ec ? model : path.filename().string();
}

/// Each connection is a file descriptor, and shells allow 1024 by default.
void raise_file_limit(int64_t max_connections) {
  constexpr rlim_t kOwnFiles = 256;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = static_cast<rlim_t>(max_connections) + kOwnFiles;
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  if (limit.rlim_cur < wanted || setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    log::warn("the system allows {} open files, too few for --max-connections {}", limit.rlim_cur,
              max_connections);
  }
}

api::ServiceOptions service_options(const ServeFlags& flags, const LoadedModel& loaded,
                                    api::SamplingDefaults defaults) {
  const std::string_view kernels = loaded.model->kernels();
  const std::string_view kv_dtype = dtype_name(loaded.model->kv_dtype());
  api::ServiceOptions options;
  options.model_names = flags.served_model_names;
  if (options.model_names.empty()) options.model_names = {folder_name(flags.model.model)};
  options.api_keys = flags.api_keys;
  options.defaults = defaults;
  options.stream_interval = flags.stream_interval;
  if (flags.reasoning_parser.ends_with("think")) {
    options.reasoning_mode = api::ReasoningMode::append_think;
  }
  options.version = {{"version", TETRAD_VERSION},        {"model", options.model_names.front()},
                     {"device", loaded.model->device()}, {"kernels", kernels},
                     {"kv_cache_dtype", kv_dtype},       {"build_type", TETRAD_BUILD_TYPE}};
  if (flags.model.session != nullptr) options.version["ranks"] = flags.model.session->description();
  options.system_fingerprint = fmt::format("tetrad-{}-{}-kv-{}", TETRAD_VERSION, kernels, kv_dtype);
  return options;
}

int serve(http::Server& server, const ServeFlags& flags, const api::ServiceOptions& service) {
  raise_file_limit(flags.max_connections);
  fmt::print("listening on {}://{} (model {}, kernels {}, kv cache {})\n",
             flags.tls.enabled() ? "https" : "http", server.address(),
             fmt::join(service.model_names, ", "),
             service.version.at("kernels").as_string().c_str(),
             service.version.at("kv_cache_dtype").as_string().c_str());
  std::fflush(stdout);
  switch (server.run()) {
    case http::Server::End::drained:
      log::info("stopped");
      break;
    case http::Server::End::timed_out:
      log::warn("stopped; requests still running after {} s were cancelled",
                flags.shutdown_timeout_seconds);
      break;
    case http::Server::End::interrupted:
      log::warn("stopped at once by a second signal");
      std::_Exit(kExitFailed);  // not even the engine's step is waited for
  }
  return kExitOk;
}

/// Null where there are to be none. It must outlive the engine that reports to it.
Result<std::unique_ptr<kv_events::KvEventPublisher>> publish_kv_events(const ServeFlags& flags,
                                                                       ServeMetrics& metrics) {
  TETRAD_ASSIGN(const auto config, kv_events_config(flags));
  if (!config) return nullptr;
  TETRAD_ASSIGN(auto publisher,
                kv_events::start_kv_event_publisher(*config, metrics.registry(), metrics.labels()));
  log::info("KV events: published on {}{}{}", publisher->endpoint(),
            publisher->replay_endpoint().empty() ? "" : ", replayed on ",
            publisher->replay_endpoint());
  return publisher;
}

/// A server that has lost a rank takes no new requests, and those that run end with an error.
class StopWhenLost {
 public:
  StopWhenLost(std::shared_ptr<RankSession> session, http::Server& server)
      : session_(std::move(session)) {
    if (session_ != nullptr) session_->loss().when_lost([&server] { server.stop(); });
  }
  ~StopWhenLost() {
    if (session_ != nullptr) session_->loss().when_lost(nullptr);
  }
  StopWhenLost(const StopWhenLost&) = delete;
  StopWhenLost& operator=(const StopWhenLost&) = delete;

 private:
  std::shared_ptr<RankSession> session_;
};

int run(ServeFlags flags) {
  for (const std::string& note : flags.notes)
    log::info("{}", note);
  auto keys = collect_api_keys(flags.api_keys, flags.api_key_files);
  if (!keys) return report(keys.error());
  flags.api_keys = std::move(*keys);
  if (const auto checked = check_serve_flags(flags); !checked) return report(checked.error());
  const auto loaded = load_model(flags.model);
  if (!loaded) return report(loaded.error());
  const std::unique_ptr<WeightReader> reader = read_ahead(**loaded);
  log::info("--kv-cache-dtype {}: keys and values are kept in {}", flags.model.kv_cache_dtype,
            dtype_name((*loaded)->model->kv_dtype()));
  const auto messages_template = chat_template(flags, **loaded);
  if (!messages_template) return report(messages_template.error());
  const auto defaults = sampling_defaults(flags, **loaded);
  if (!defaults) return report(defaults.error());
  auto options = engine_options(flags.engine, **loaded);
  if (!options) return report(options.error());
  api::ServiceOptions service_settings = service_options(flags, **loaded, *defaults);
  ServeMetrics metrics(service_settings.model_names.front(), flags, **loaded, *options);
  const auto events = publish_kv_events(flags, metrics);
  if (!events) return report(events.error());
  options->observer = metrics.observer();
  if (*events) {
    options->observer = std::make_shared<ObserverList>(
        std::vector<std::shared_ptr<EngineObserver>>{metrics.observer(), (*events)->observer()});
  }
  const auto engine = Engine::start(*(*loaded)->model, *(*loaded)->tokenizer, *options);
  if (!engine) return report(engine.error());
  log::info("{}", describe_capacity(**engine));
  metrics.describe(**engine, **loaded);
  service_settings.metrics_text = [&metrics, &engine = **engine] { return metrics.text(engine); };
  // The service comes before the server whose end it announces.
  std::atomic<const http::Server*> listening = nullptr;
  service_settings.is_leaving = [&listening] {
    const http::Server* server = listening;
    return server != nullptr && server->is_leaving();
  };
  service_settings.is_draining = [&listening] {
    const http::Server* server = listening;
    return server != nullptr && server->is_draining();
  };

  api::Service service(**engine, *(*loaded)->tokenizer, *messages_template, service_settings);
  api::MeteredHandler handler(service, metrics.registry());
  auto listening_options = server_options(flags);
  if (!listening_options) return report(listening_options.error());
  const auto server = http::Server::listen(std::move(*listening_options), handler);
  if (!server) return report(server.error());
  listening = server->get();
  const StopWhenLost stop(flags.model.session, **server);
  return serve(**server, flags, service_settings);
}

}  // namespace

void add_verb_serve(CLI::App& app, int& exit_status) {
  auto flags = std::make_shared<ServeFlags>();
  CLI::App* verb = app.add_subcommand("serve", "OpenAI-compatible HTTP server for a checkpoint");
  add_serve_flags(*verb, *flags);
  verb->footer(kServeExamples);
  verb->callback([flags, &exit_status] {
    exit_status = run_with_ranks(flags->model, [&] { return run(*flags); });
  });
}

}  // namespace tetrad
