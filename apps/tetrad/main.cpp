#include "base/log.h"
#include "cli_io.h"
#include "command_line.h"
#include "verbs.h"

int main(int argc, char** argv) {
  tetrad::log::init();
  CLI::App app{
      "tetrad: makes, checks and serves 4-bit MXFP4-16 checkpoints of the MiniMax-M2 family",
      "tetrad"};
  app.set_version_flag("--version", std::string("tetrad ") + TETRAD_VERSION);
  app.require_subcommand(1);

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
  tetrad::add_verb_parse(app, exit_status);
  tetrad::add_verb_logits(app, exit_status);
  tetrad::add_verb_bench(app, exit_status);
  tetrad::add_verb_selftest(app, exit_status);
  tetrad::add_verb_tune(app, exit_status);
  tetrad::add_log_level(app);

  const int parsed = tetrad::parse_command_line(app, {argv + 1, argv + argc});
  return parsed == tetrad::kExitOk ? exit_status : parsed;
}
