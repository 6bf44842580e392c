#pragma once

// One small file a verb: verb_<name>.cpp adds its subcommand to the command line. The callback runs
// after parsing and returns the process's exit status through `exit_status`.

#include <CLI/CLI.hpp>

namespace tetrad {

void add_verb_serve(CLI::App& app, int& exit_status);
void add_verb_chat(CLI::App& app, int& exit_status);
void add_verb_generate(CLI::App& app, int& exit_status);
void add_verb_quantize(CLI::App& app, int& exit_status);
void add_verb_inspect(CLI::App& app, int& exit_status);
void add_verb_plan(CLI::App& app, int& exit_status);
void add_verb_eval(CLI::App& app, int& exit_status);
void add_verb_tokenize(CLI::App& app, int& exit_status);
void add_verb_render(CLI::App& app, int& exit_status);
void add_verb_parse(CLI::App& app, int& exit_status);
void add_verb_logits(CLI::App& app, int& exit_status);
void add_verb_bench(CLI::App& app, int& exit_status);
void add_verb_selftest(CLI::App& app, int& exit_status);
void add_verb_tune(CLI::App& app, int& exit_status);

// Subcommands of bench.
void add_bench_serve(CLI::App& bench, int& exit_status);
void add_bench_structured(CLI::App& bench, int& exit_status);
void add_bench_quantize(CLI::App& bench, int& exit_status);
void add_bench_limits(CLI::App& bench, int& exit_status);
void add_bench_model(CLI::App& bench, int& exit_status);
void add_bench_collectives(CLI::App& bench, int& exit_status);

}  // namespace tetrad
