#include "bench_model_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "bench_model_output.h"
#include "gpu_device_flag.h"
#include "loaded_model.h"
#include "nearest_word.h"
#include "number_flag.h"

namespace tetrad {
namespace {

constexpr int64_t kMostPositions = 204800;  // of synthetic_config()

std::vector<std::string> shape_keys() {
  std::vector<std::string> keys;
  keys.reserve(std::size(kSyntheticShapeFields));
  for (const SyntheticShapeField& field : kSyntheticShapeFields)
    keys.emplace_back(field.key);
  return keys;
}

Result<int64_t SyntheticShape::*> shape_member(std::string_view key) {
  for (const SyntheticShapeField& field : kSyntheticShapeFields) {
    if (field.key == key) return field.member;
  }
  const std::string nearest = nearest_word(key, shape_keys());
  if (!nearest.empty())
    return fail_param("--shape", "--shape: unknown \"{}\"; did you mean {}?", key, nearest);
  return fail_param("--shape", "--shape: unknown \"{}\"; known are {}", key,
                    fmt::join(shape_keys(), ", "));
}

/// "layers=4"
Result<void> parse_shape_item(std::string_view item, SyntheticShape& shape,
                              std::set<std::string_view>& seen) {
  const size_t equals = item.find('=');
  if (equals == std::string_view::npos) {
    return fail_param("--shape", "--shape: \"{}\" is not NAME=NUMBER, such as layers=4", item);
  }
  const std::string_view key = item.substr(0, equals);
  const std::string_view text = item.substr(equals + 1);
  TETRAD_ASSIGN(int64_t SyntheticShape::* const member, shape_member(key));
  if (!seen.insert(key).second) return fail_param("--shape", "--shape: {} is given twice", key);
  int64_t number = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (ec != std::errc() || end != text.data() + text.size()) {
    return fail_param("--shape", "--shape: {} must be a whole number, not \"{}\"", key, text);
  }
  shape.*member = number;
  return {};
}

CLI::Option* add_list(CLI::App& verb, const std::string& flag, std::vector<int64_t>& target,
                      const std::string& description, const Bounds<int64_t>& bounds) {
  return verb.add_option(flag, target, description)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->transform(as_whole_number(bounds))
      ->capture_default_str()
      ->option_text("N,N,... " + fmt::format("[{}]", fmt::join(target, ",")));
}

}  // namespace

bool BenchModelFlags::wants(std::string_view part) const {
  return only.empty() || std::find(only.begin(), only.end(), part) != only.end();
}

void add_bench_model_flags(CLI::App& verb, BenchModelFlags& flags) {
  verb.add_option("--shape", flags.shape,
                  fmt::format("sizes other than MiniMax-M2.7's: {}", fmt::join(shape_keys(), ", ")))
      ->option_text(fmt::format("NAME=N,... [{}]", flags.shape));
  add_list(verb, "--contexts", flags.contexts, "tokens before the last of a decode",
           {.from = 0, .to = kMostPositions - 1});
  add_list(verb, "--batches", flags.batches, "sequences that decode together",
           {.from = 1, .to = 1024});
  add_list(verb, "--prompts", flags.prompts, "tokens of a prompt",
           {.from = 1, .to = kMostPositions});
  verb.add_option("--max-num-batched-tokens", flags.max_num_batched_tokens,
                  "most tokens of a prefill step")
      ->transform(as_whole_number({.from = 1, .to = 65536}))
      ->capture_default_str();
  verb.add_option("--repetitions", flags.repetitions, "runs of each measurement")
      ->transform(as_whole_number({.from = 1, .to = 1000}))
      ->capture_default_str();
  verb.add_option("--only", flags.only, "a part: decode, batched or prefill; repeatable")
      ->allow_extra_args(false)
      ->check(CLI::IsMember({std::string(kDecodePart.name), std::string(kBatchedPart.name),
                             std::string(kPrefillPart.name)}))
      ->option_text("PART ...");
  add_kernels_flag(verb, flags.kernels);
  add_threads_flag(verb, flags.threads);
  verb.add_option("--device", flags.device,
                  "cpu, or gpu: the first that this build has code for; or its emulation, whose "
                  "times say nothing: emulated-nvidia, emulated-gfx12")
      ->check(CLI::IsMember({"cpu", "gpu", "emulated-nvidia", "emulated-gfx12"}));
  add_gpu_tuning_flag(verb, flags.gpu_tuning);
  add_layout_flags(verb, flags.ranks,
                   "ranks that share the model: threads with a part of the processors each, or "
                   "with a GPU each, from the first on");
  verb.add_option("--batch-context", flags.batch_context,
                  "on a gpu: tokens before each sequence of --batches")
      ->transform(as_whole_number({.from = 0, .to = 1 << 20}));
  auto* profile = verb.add_flag("--profile", flags.profile,
                                "below each row, what its operations took; in JSON always");
  verb.add_flag("--json", flags.json, "figures as JSON")->excludes(profile);
}

Result<SyntheticShape> parse_synthetic_shape(std::string_view text) {
  SyntheticShape shape;
  std::set<std::string_view> seen;
  while (true) {
    const size_t comma = text.find(',');
    TETRAD_TRY(parse_shape_item(text.substr(0, comma), shape, seen));
    if (comma == std::string_view::npos) return shape;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace tetrad
