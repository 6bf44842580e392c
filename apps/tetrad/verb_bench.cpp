// tetrad bench …: each subcommand is a file bench_<name>.cpp.

#include "verbs.h"

namespace tetrad {

void add_verb_bench(CLI::App& app, int& exit_status) {
  CLI::App* verb = app.add_subcommand("bench", "Measure a server, or parts of one");
  verb->require_subcommand(1);
  add_bench_serve(*verb, exit_status);
  add_bench_structured(*verb, exit_status);
  add_bench_quantize(*verb, exit_status);
  add_bench_limits(*verb, exit_status);
  add_bench_model(*verb, exit_status);
  add_bench_collectives(*verb, exit_status);
}

}  // namespace tetrad
