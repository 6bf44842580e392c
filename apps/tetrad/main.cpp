#include <fmt/core.h>

#include "base/log.h"
#include "cli_io.h"
#include "verbs.h"

int main(int argc, char** argv) {
  tetrad::log::init();
  CLI::App app{
      "tetrad: makes, checks and serves 4-bit MXFP4-16 checkpoints of the MiniMax-M2 family"};
  app.set_version_flag("--version", std::string("tetrad ") + TETRAD_VERSION);
  app.require_subcommand(1);
  std::string log_level = "info";
  app.add_option("--log-level", log_level, "debug, info, warning or error");
  app.parse_complete_callback([&log_level] {
    if (const auto set = tetrad::log::set_level(log_level); !set) {
      throw CLI::ValidationError("--log-level", set.error().message);
    }
  });

  int exit_status = tetrad::kExitOk;
  tetrad::add_verb_serve(app, exit_status);
  tetrad::add_verb_chat(app, exit_status);
  tetrad::add_verb_generate(app, exit_status);
  tetrad::add_verb_quantize(app, exit_status);
  tetrad::add_verb_inspect(app, exit_status);
  tetrad::add_verb_plan(app, exit_status);
  tetrad::add_verb_eval(app, exit_status);
  tetrad::add_verb_tokenize(app, exit_status);
  tetrad::add_verb_render(app, exit_status);
  tetrad::add_verb_logits(app, exit_status);
  tetrad::add_verb_bench(app, exit_status);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? tetrad::kExitOk : tetrad::kExitUsage;
  }
  return exit_status;
}
