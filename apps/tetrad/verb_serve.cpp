// tetrad serve MODEL: the OpenAI-compatible server.

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "api/metered_handler.h"
#include "api/service.h"
#include "base/log.h"
#include "chat/template.h"
#include "cli_io.h"
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
                                    DType kv_cache_dtype, api::SamplingDefaults defaults) {
  const std::string_view kernels = loaded.model->kernels().name();
  const std::string_view kv_dtype = dtype_name(kv_cache_dtype);
  api::ServiceOptions options;
  options.model_names = flags.served_model_names;
  if (options.model_names.empty()) options.model_names = {folder_name(flags.model.model)};
  options.api_keys = flags.api_keys;
  options.defaults = defaults;
  if (flags.reasoning_parser.ends_with("think")) {
    options.reasoning_mode = api::ReasoningMode::append_think;
  }
  options.version = {{"version", TETRAD_VERSION},
                     {"model", options.model_names.front()},
                     {"kernels", kernels},
                     {"kv_cache_dtype", kv_dtype},
                     {"build_type", TETRAD_BUILD_TYPE}};
  options.system_fingerprint = fmt::format("tetrad-{}-{}-kv-{}", TETRAD_VERSION, kernels, kv_dtype);
  return options;
}

int serve(http::Server& server, const ServeFlags& flags, const api::ServiceOptions& service) {
  raise_file_limit(flags.max_connections);
  fmt::print("listening on http://{} (model {}, kernels {}, kv cache {})\n", server.address(),
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

int run(ServeFlags flags) {
  for (const std::string& note : flags.notes)
    log::info("{}", note);
  if (const char* key = std::getenv("TETRAD_API_KEY"); key != nullptr && *key != '\0') {
    flags.api_keys.emplace_back(key);
  }
  if (const auto checked = check_serve_flags(flags); !checked) return report(checked.error());
  const auto loaded = load_model(flags.model);
  if (!loaded) return report(loaded.error());
  log::info("--kv-cache-dtype {}: keys and values are kept in {}", flags.model.kv_cache_dtype,
            dtype_name((*loaded)->kv_cache.dtype));
  const auto chat_template = ChatTemplate::from_folder((*loaded)->folder);
  if (!chat_template) return report(chat_template.error());
  const auto defaults = sampling_defaults(flags, **loaded);
  if (!defaults) return report(defaults.error());
  auto options = engine_options(flags.engine, **loaded);
  if (!options) return report(options.error());
  api::ServiceOptions service_settings =
      service_options(flags, **loaded, options->kv_cache.dtype, *defaults);
  ServeMetrics metrics(service_settings.model_names.front(), flags, **loaded, *options);
  options->observer = metrics.observer();
  const auto engine = Engine::start(*(*loaded)->model, *(*loaded)->tokenizer, *options);
  if (!engine) return report(engine.error());
  log::info("{}", describe_capacity(**engine));
  metrics.describe(**engine, **loaded);
  service_settings.metrics_text = [&metrics, &engine = **engine] { return metrics.text(engine); };

  api::Service service(**engine, *(*loaded)->tokenizer, *chat_template, service_settings);
  api::MeteredHandler handler(service, metrics.registry());
  const auto server = http::Server::listen(server_options(flags), handler);
  if (!server) return report(server.error());
  return serve(**server, flags, service_settings);
}

}  // namespace

void add_verb_serve(CLI::App& app, int& exit_status) {
  auto flags = std::make_shared<ServeFlags>();
  CLI::App* verb = app.add_subcommand("serve", "OpenAI-compatible HTTP server for a checkpoint");
  add_serve_flags(*verb, *flags);
  verb->footer(kServeExamples);
  verb->callback([flags, &exit_status] { exit_status = run(*flags); });
}

}  // namespace tetrad
