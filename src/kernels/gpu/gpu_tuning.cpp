#include "kernels/gpu/gpu_tuning.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/mapped_file.h"
#include "checkpoint/json_fields.h"
#include "kernels/gpu/choose_experts.h"

namespace tetrad::gpu {
namespace {

// max_job_tiles: kMaxJobTiles of decode_product.h.
constexpr std::array kTuningFields = {
    GpuTuningField{"product_blocks", &GpuTuning::product_blocks, 1, 8},
    GpuTuningField{"experts_up_blocks", &GpuTuning::experts_up_blocks, 1, 8},
    GpuTuningField{"experts_down_blocks", &GpuTuning::experts_down_blocks, 1, 8},
    GpuTuningField{"attend_blocks", &GpuTuning::attend_blocks, 1, 64},
    GpuTuningField{"max_job_tiles", &GpuTuning::max_job_tiles, 1, 4},
    GpuTuningField{"max_product_tokens", &GpuTuning::max_product_tokens, 1, 16},
    GpuTuningField{"segment_product_tokens", &GpuTuning::segment_product_tokens, 1, 17},
    GpuTuningField{"decode_experts_pairs", &GpuTuning::decode_experts_pairs, 0, 1024},
    GpuTuningField{"streamed_experts_pairs", &GpuTuning::streamed_experts_pairs, 0, 1024},
    GpuTuningField{"small_gemm_tokens", &GpuTuning::small_gemm_tokens, 0, 65536},
    GpuTuningField{"gemm_block_tokens", &GpuTuning::gemm_block_tokens, 0, 1024},
    GpuTuningField{"small_experts_gemm_pairs", &GpuTuning::small_experts_gemm_pairs, 0, 4096},
    GpuTuningField{"narrow_experts_gemm_pairs", &GpuTuning::narrow_experts_gemm_pairs, 0, 4096}};

constexpr int64_t kMaxTuningBytes = 1 << 20;
constexpr double kMostMicroseconds = 1e9;

/// No members but these.
Result<void> refuse_unknown_members(const json::object& object, const JsonFields& fields,
                                    std::span<const std::string_view> known) {
  for (const auto& [key, value] : object) {
    if (std::ranges::find(known, std::string_view(key)) == known.end())
      return fail(ErrorCode::corrupt_data, "\"{}\" is unknown; known are {}", fields.name(key),
                  fmt::join(known, ", "));
  }
  return {};
}

template <class T>
Result<T> required(const JsonFields& fields, std::string_view key, Result<std::optional<T>> found) {
  TETRAD_ASSIGN(std::optional<T> value, std::move(found));
  if (!value) return fail(ErrorCode::corrupt_data, "\"{}\" is missing", fields.name(key));
  return std::move(*value);
}

Result<GpuTuning> parse_choices(const json::object& object) {
  const JsonFields fields(object, "choices.");
  std::array<std::string_view, kTuningFields.size()> names;
  std::ranges::transform(kTuningFields, names.begin(), &GpuTuningField::name);
  TETRAD_TRY(refuse_unknown_members(object, fields, names));
  GpuTuning tuning;
  for (const GpuTuningField& field : kTuningFields) {
    TETRAD_ASSIGN(const auto value, fields.integer(field.name, field.least, field.most));
    if (value) tuning.*field.member = static_cast<uint32_t>(*value);
  }
  return tuning;
}

Result<TunedStep> parse_tuned_step(const json::value& value, size_t index) {
  const std::string where = fmt::format("steps[{}]", index);
  if (!value.is_object())
    return fail(ErrorCode::corrupt_data, "\"{}\" must be an object, not {}", where,
                json_kind_name(value));
  const JsonFields fields(value.get_object(), where + ".");
  constexpr std::string_view kKnown[] = {"name", "us_before", "us_after"};
  TETRAD_TRY(refuse_unknown_members(value.get_object(), fields, kKnown));
  TunedStep step;
  TETRAD_ASSIGN(step.name, required(fields, "name", fields.text("name")));
  TETRAD_ASSIGN(step.us_before,
                required(fields, "us_before", fields.number("us_before", 0, kMostMicroseconds)));
  TETRAD_ASSIGN(step.us_after,
                required(fields, "us_after", fields.number("us_after", 0, kMostMicroseconds)));
  return step;
}

}  // namespace

bool GpuTuning::streams_experts(uint64_t num_tokens, uint64_t num_experts_per_tok,
                                uint64_t num_experts, bool by_themselves) const {
  const uint64_t pairs = by_themselves ? streamed_experts_pairs : decode_experts_pairs;
  return num_tokens <= kFewTokens || num_tokens * num_experts_per_tok <= pairs * num_experts;
}

std::span<const GpuTuningField> gpu_tuning_fields() {
  return kTuningFields;
}

Result<GpuTuningFile> GpuTuningFile::parse(std::string_view text) {
  TETRAD_ASSIGN(const json::value value, parse_json(text));
  if (!value.is_object())
    return fail(ErrorCode::corrupt_data, "a GPU's tuning must be a JSON object, not {}",
                json_kind_name(value));
  const JsonFields fields(value.get_object());
  constexpr std::string_view kKnown[] = {"card", "driver", "program", "tested", "choices", "steps"};
  TETRAD_TRY(refuse_unknown_members(value.get_object(), fields, kKnown));
  GpuTuningFile file;
  TETRAD_ASSIGN(file.card, required(fields, "card", fields.text("card")));
  if (file.card.empty()) return fail(ErrorCode::corrupt_data, "\"card\" is empty");
  TETRAD_ASSIGN(const auto driver, fields.text("driver"));
  file.driver = driver.value_or("");
  TETRAD_ASSIGN(const auto program, fields.text("program"));
  file.program = program.value_or("");
  TETRAD_ASSIGN(file.tested, required(fields, "tested", fields.boolean("tested")));
  TETRAD_ASSIGN(const json::object* const choices, fields.object("choices"));
  if (choices == nullptr) return fail(ErrorCode::corrupt_data, "\"choices\" is missing");
  TETRAD_ASSIGN(file.choices, parse_choices(*choices));
  TETRAD_ASSIGN(const json::array* const steps, fields.array("steps"));
  for (size_t i = 0; steps != nullptr && i < steps->size(); ++i) {
    TETRAD_ASSIGN(TunedStep step, parse_tuned_step((*steps)[i], i));
    file.steps.push_back(std::move(step));
  }
  return file;
}

json::object GpuTuningFile::to_json() const {
  json::object object;
  object["card"] = card;
  object["driver"] = driver;
  object["program"] = program;
  object["tested"] = tested;
  json::object values;
  for (const GpuTuningField& field : kTuningFields)
    values[field.name] = choices.*field.member;
  object["choices"] = std::move(values);
  json::array times;
  for (const TunedStep& step : steps)
    times.push_back(json::object{
        {"name", step.name}, {"us_before", step.us_before}, {"us_after", step.us_after}});
  object["steps"] = std::move(times);
  return object;
}

Result<GpuTuningFile> read_gpu_tuning(const std::string& path) {
  TETRAD_ASSIGN(const std::string text, read_text_file(path, kMaxTuningBytes));
  auto file = GpuTuningFile::parse(text);
  if (!file) return tl::unexpected(std::move(file.error()).in(path));
  return file;
}

Result<GpuTuning> gpu_tuning_of(std::string_view card_name) {
  GpuTuningFile best;
  for (const std::string_view text : shipped_gpu_tunings()) {
    auto file = GpuTuningFile::parse(text);
    if (!file) return tl::unexpected(std::move(file.error()).in("a GPU's tuning in this build"));
    if (card_name.starts_with(file->card) && file->card.size() > best.card.size())
      best = std::move(*file);
  }
  return best.choices;
}

}  // namespace tetrad::gpu
