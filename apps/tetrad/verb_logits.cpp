#include <algorithm>
#include <numeric>

#include "cli_io.h"
#include "engine_flags.h"
#include "loaded_model.h"
#include "model/sequence_runner.h"
#include "number_flag.h"
#include "rank_session.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct LogitsFlags {
  ModelFlags model;
  int64_t max_model_len = 0;  // 0: the model's
  std::string input = "-";
  int64_t top = 50;
};

/// The `top` largest logits, the lower id first among equals.
json::object top_logits(std::span<const float> logits, int64_t top) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto count = std::min<size_t>(static_cast<size_t>(top), ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<int64_t>(count), ids.end(),
                    [&](int32_t a, int32_t b) {
                      const float left = logits[static_cast<size_t>(a)];
                      const float right = logits[static_cast<size_t>(b)];
                      return left != right ? left > right : a < b;
                    });
  ids.resize(count);
  json::array top_ids;
  json::array top_values;
  for (const int32_t id : ids) {
    top_ids.emplace_back(id);
    top_values.emplace_back(static_cast<double>(logits[static_cast<size_t>(id)]));
  }
  return {{"top_ids", std::move(top_ids)}, {"top_logits", std::move(top_values)}};
}

int run(const LogitsFlags& flags) {
  auto loaded = load_model(flags.model);
  if (!loaded) return report(loaded.error());
  DeviceModel& model = *(*loaded)->model;
  const int64_t longest = model.config().max_position_embeddings;
  if (flags.max_model_len > longest) {
    return report(fail_param("--max-model-len",
                             "{} exceeds the model's max_position_embeddings of {}",
                             flags.max_model_len, longest)
                      .value());
  }
  auto runner =
      SequenceRunner::create(model, flags.max_model_len > 0 ? flags.max_model_len : longest);
  if (!runner) return report(at_flag(std::move(runner.error()), "--max-model-len"));
  return for_each_json_line(flags.input, [&](const json::object& line) -> Result<json::object> {
    warn_of_unknown_fields(line, {"ids"});
    TETRAD_ASSIGN(const std::vector<int32_t> ids, ids_field(line, "ids"));
    runner->reset();
    TETRAD_ASSIGN(const Activations logits,
                  runner->append(ids, SequenceRunner::Logits::last_token));
    return top_logits(logits.row_span(0), flags.top);
  });
}

}  // namespace

void add_verb_logits(CLI::App& app, int& exit_status) {
  auto flags = std::make_shared<LogitsFlags>();
  CLI::App* verb = app.add_subcommand(
      "logits", R"(The model's scores for the next token: {"ids"} -> {"top_ids","top_logits"})");
  add_model_flags(*verb, flags->model);
  add_max_model_len_flag(*verb, flags->max_model_len);
  verb->add_option("--input", flags->input, "file of JSON lines; -: standard input");
  verb->add_option("--top", flags->top, "how many of the largest logits")
      ->transform(as_whole_number({.above = 0}));
  verb->footer(R"(Example:
  echo '{"ids":[6114,6099]}' | tetrad logits models/tetrad-demo-mxfp4_16 --dtype float32 --top 5)");
  verb->callback([flags, &exit_status] {
    exit_status = run_with_ranks(flags->model, [&] { return run(*flags); });
  });
}

}  // namespace tetrad
