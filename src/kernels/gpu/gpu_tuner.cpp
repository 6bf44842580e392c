#include "kernels/gpu/gpu_tuner.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <optional>

#include "base/percentile.h"

namespace tetrad::gpu {
namespace {

/// The values to try of a choice, in the order in which choices are made: which kernels first.
struct TuningQuestion {
  uint32_t GpuTuning::* member;
  std::initializer_list<uint32_t> values;
};
const std::array kTuningQuestions = {
    TuningQuestion{&GpuTuning::max_product_tokens, {1, 2, 4, 8, 16}},
    TuningQuestion{&GpuTuning::segment_product_tokens, {2, 3, 4, 5, 17}},
    TuningQuestion{&GpuTuning::decode_experts_pairs, {0, 1, 2, 4, 8}},
    TuningQuestion{&GpuTuning::streamed_experts_pairs, {0, 1, 2, 4, 8}},
    TuningQuestion{&GpuTuning::max_job_tiles, {1, 2, 3, 4}},
    TuningQuestion{&GpuTuning::product_blocks, {1, 2, 3, 4}},
    TuningQuestion{&GpuTuning::experts_up_blocks, {1, 2, 3, 4}},
    TuningQuestion{&GpuTuning::experts_down_blocks, {1, 2, 3, 4}},
    TuningQuestion{&GpuTuning::small_gemm_tokens, {0, 32, 64, 128, 256, 512}},
    TuningQuestion{&GpuTuning::gemm_block_tokens, {8, 24, 64, 128}},
    TuningQuestion{&GpuTuning::small_experts_gemm_pairs, {0, 8, 24, 64}},
    TuningQuestion{&GpuTuning::narrow_experts_gemm_pairs, {0, 16, 32, 64, 128}}};

/// What a choice comes to in a step: of two values that come to the same, the launches are the
/// same.
uint32_t effect_of(uint32_t GpuTuning::* member, const GpuTuning& tuning, const TuningStep& step,
                   const TunerOptions& options) {
  const uint32_t value = tuning.*member;
  const uint32_t tokens = step.num_tokens;
  const bool streams = tokens <= std::min(tuning.max_product_tokens, options.fragment_tokens);
  const bool by_themselves = tokens >= options.least_streamed_tokens;
  const bool streams_experts = tuning.streams_experts(tokens, options.num_experts_per_tok,
                                                      options.num_experts, by_themselves);
  const bool has_streams = options.least_streamed_tokens != ~0u;
  const bool has_sizes = streams_experts && !by_themselves && !(has_streams && tokens == 1);
  const bool has_fewer_pairs =
      uint64_t{tokens} * options.num_experts_per_tok <= uint64_t{value} * options.num_experts;
  if (member == &GpuTuning::max_product_tokens) return streams ? 1 : 0;
  if (member == &GpuTuning::segment_product_tokens) return streams && tokens >= value ? 1 : 0;
  if (member == &GpuTuning::decode_experts_pairs) return streams_experts && !by_themselves ? 1 : 0;
  if (member == &GpuTuning::streamed_experts_pairs) return streams_experts && by_themselves ? 1 : 0;
  if (member == &GpuTuning::max_job_tiles) return streams || has_sizes ? value : 0;
  if (member == &GpuTuning::product_blocks) return streams ? value : 0;
  if (member == &GpuTuning::experts_up_blocks) return has_sizes ? value : 0;
  // One token's w2 has a kernel of its own.
  if (member == &GpuTuning::experts_down_blocks) return has_sizes && tokens > 1 ? value : 0;
  if (member == &GpuTuning::small_gemm_tokens) return !streams && tokens <= value ? 1 : 0;
  if (member == &GpuTuning::gemm_block_tokens) return streams ? 0 : value;
  return !streams_experts && has_fewer_pairs ? 1 : 0;
}

/// Medians of a step's time with each of some choices, which take turns.
Result<std::vector<double>> time_in_turns(std::span<const GpuTuning> choices,
                                          const TuningStep& step, int rounds,
                                          const TimeTunedStep& time) {
  std::vector<std::vector<double>> seconds(choices.size());
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < choices.size(); ++i) {
      TETRAD_ASSIGN(const double taken, time(choices[i], step));
      seconds[i].push_back(taken);
    }
  }
  std::vector<double> medians;
  std::ranges::transform(seconds, std::back_inserter(medians), median_of);
  return medians;
}

/// The sum of a trial's logarithms of ratios decides between values; their mean is what it tells.
struct OpenTrial {
  GpuTuning tuning;
  TuningTrial told;
  double log_ratios = 0;

  bool gains() const { return told.num_steps > 0 && told.time_ratio < 1 - kTuningGain; }
};

std::vector<OpenTrial> open_trials(const TuningQuestion& question, const GpuTuning& so_far) {
  const auto field =
      std::ranges::find(gpu_tuning_fields(), question.member, &GpuTuningField::member);
  std::vector<OpenTrial> trials;
  for (const uint32_t value : question.values) {
    if (value == so_far.*question.member) continue;
    OpenTrial trial{.tuning = so_far, .told = {.choice = field->name, .value = value}};
    trial.tuning.*question.member = value;
    trials.push_back(trial);
  }
  return trials;
}

/// Times the trials that change a step beside what is so far; those that come to the same once.
Result<void> try_in_step(const TuningQuestion& question, const TuningStep& step,
                         const TunerOptions& options, const GpuTuning& so_far,
                         std::vector<OpenTrial>& trials, const TimeTunedStep& time) {
  const auto effect = [&](const GpuTuning& tuning) {
    return effect_of(question.member, tuning, step, options);
  };
  std::vector<GpuTuning> choices = {so_far};
  for (const OpenTrial& trial : trials) {
    if (std::ranges::find(choices, effect(trial.tuning), effect) == choices.end())
      choices.push_back(trial.tuning);
  }
  if (choices.size() == 1) return {};
  TETRAD_ASSIGN(const std::vector<double> seconds,
                time_in_turns(choices, step, options.rounds, time));
  for (OpenTrial& trial : trials) {
    const auto same = std::ranges::find(choices, effect(trial.tuning), effect);
    if (same == choices.begin()) continue;
    trial.log_ratios += std::log(seconds[static_cast<size_t>(same - choices.begin())] / seconds[0]);
    ++trial.told.num_steps;
  }
  return {};
}

}  // namespace

std::string TuningStep::name() const {
  return fmt::format("{} {}", is_prefill ? "prefill" : "decode", num_tokens);
}

std::vector<int64_t> count_tuning_times(const TunerOptions& options) {
  std::vector<int64_t> counts;
  for (const TuningStep& step : options.steps) {
    int64_t count = 2;  // before and after
    for (const TuningQuestion& question : kTuningQuestions) {
      std::vector<uint32_t> effects;
      for (const uint32_t value : question.values) {
        GpuTuning tuning;
        tuning.*question.member = value;
        const uint32_t effect = effect_of(question.member, tuning, step, options);
        if (std::ranges::find(effects, effect) == effects.end()) effects.push_back(effect);
      }
      if (effects.size() > 1) count += static_cast<int64_t>(effects.size());
    }
    counts.push_back(count * options.rounds);
  }
  return counts;
}

Result<GpuTuningFile> find_gpu_tuning(const TunerOptions& options, const TimeTunedStep& time) {
  GpuTuningFile file;
  GpuTuning& so_far = file.choices;
  for (const TuningQuestion& question : kTuningQuestions) {
    std::vector<OpenTrial> trials = open_trials(question, so_far);
    for (const TuningStep& step : options.steps)
      TETRAD_TRY(try_in_step(question, step, options, so_far, trials, time));
    OpenTrial* best = nullptr;
    for (OpenTrial& trial : trials) {
      if (trial.told.num_steps == 0) continue;
      trial.told.time_ratio =
          std::exp(trial.log_ratios / static_cast<double>(trial.told.num_steps));
      if (trial.gains() && (best == nullptr || trial.log_ratios < best->log_ratios)) best = &trial;
    }
    if (best != nullptr) {
      best->told.is_taken = true;
      so_far = best->tuning;
    }
    for (const OpenTrial& trial : trials) {
      if (options.tell && trial.told.num_steps > 0) options.tell(trial.told);
    }
  }
  const std::array ends = {GpuTuning{}, so_far};
  for (const TuningStep& step : options.steps) {
    TETRAD_ASSIGN(const std::vector<double> seconds,
                  time_in_turns(ends, step, options.rounds, time));
    file.steps.push_back(
        {.name = step.name(), .us_before = seconds[0] * 1e6, .us_after = seconds[1] * 1e6});
  }
  return file;
}

}  // namespace tetrad::gpu
