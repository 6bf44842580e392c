// Tokens chosen by what a GPU's kernels say of the logits are those that are chosen by the logits:
// for the sampler alone, over rows of all kinds, and through the engine.

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <random>

#include "base/sanitized_for_tests.h"
#include "bundled_gpu_model.h"
#include "engine/bundled_model.h"
#include "engine/engine.h"
#include "engine/listener_for_tests.h"
#include "engine/sampler.h"
#include "engine/sampling_cases_for_tests.h"
#include "model/gpu_logits.h"
#include "model/watched_device_for_tests.h"
#include "model/whole_rows_for_tests.h"

namespace tetrad {
namespace {

/// Rows of logits on an emulated device, summarised there.
class SummarisedRows {
 public:
  SummarisedRows(bool is_gfx12, int64_t num_rows, int64_t vocab_size)
      : device_(emulated(is_gfx12)),
        kernels_(gpu::GpuKernels::create(*device_).value()),
        memory_(*device_),
        vocab_size_(vocab_size) {
    EXPECT_TRUE(logits_.allocate(
        memory_, {.rows_at_once = num_rows, .max_rows = num_rows, .vocab_size = vocab_size}));
  }

  StepLogits put(const std::vector<std::vector<float>>& rows, const std::vector<LogitsUse>& uses) {
    std::vector<float> scales;
    for (size_t row = 0; row < rows.size(); ++row) {
      EXPECT_TRUE(copy(logits_.device() + static_cast<int64_t>(row) * vocab_size_, rows[row]));
      scales.push_back(exponent_scale(uses[row]));
    }
    float* on_device = memory_.array<float>(std::ssize(scales)).value();
    EXPECT_TRUE(copy(on_device, scales));
    const auto count = static_cast<uint32_t>(rows.size());
    kernels_.summarize_logits(logits_.summarize_args(on_device, count), count);
    EXPECT_TRUE(kernels_.status());
    EXPECT_TRUE(logits_.begin(count, uses));
    EXPECT_TRUE(logits_.copy(0, count));
    return {logits_, std::ssize(rows)};
  }

 private:
  Result<void> copy(float* to, const std::vector<float>& values) {
    return device_->copy_to_device(reinterpret_cast<gpu::DeviceAddress>(to), values.data(),
                                   std::ssize(values) * int64_t{sizeof(float)});
  }

  std::unique_ptr<gpu::Device> device_;
  gpu::GpuKernels kernels_;
  GpuMemory memory_;
  int64_t vocab_size_;
  GpuLogits logits_;
};

class GpuSampling : public testing::TestWithParam<bool> {};

TEST_P(GpuSampling, ChoosesAsTheRowDoes) {
  std::mt19937_64 random(31);
  Sampler by_row;
  Sampler by_summary;
  int num_asked = 0;
  int num_decided = 0;
  for (const int64_t count : {1, 3, 64, 65, 777, 2049, 6144, 10'007}) {
    constexpr size_t kRows = 12;
    SummarisedRows device(GetParam(), kRows, count);
    for (int round = 0; round < (count < 1000 ? 12 : 5); ++round) {
      const auto size = static_cast<size_t>(count);
      std::vector<std::vector<float>> rows;
      std::vector<SamplingParams> params;
      std::vector<LogitsUse> uses;
      std::vector<bool> restricted;
      for (size_t row = 0; row < kRows; ++row) {
        rows.push_back(logits_of_some_kind(random, size));
        params.push_back(params_of_some_kind(random, size));
        restricted.push_back(random() % 4 == 0);
        uses.push_back(Sampler::use_of(params.back(), restricted.back(), 0));
      }
      const StepLogits logits = device.put(rows, uses);
      for (size_t row = 0; row < kRows; ++row) {
        const auto summary = logits.summary(static_cast<int64_t>(row));
        ASSERT_EQ(summary.has_value(), !uses[row].is_whole);
        const TokenSet all_allowed = allowed_of_some_kind(random, size);
        const TokenSet* allowed = restricted[row] ? &all_allowed : nullptr;
        for (int draw = 0; summary && draw < 3; ++draw) {
          params[row].seed = random();
          const auto chosen = by_summary.sample(*summary, params[row], {}, 0, allowed);
          ASSERT_TRUE(chosen);
          ++num_asked;
          if (!*chosen) continue;
          ++num_decided;
          ASSERT_EQ((*chosen)->id, by_row.sample(rows[row], params[row], {}, 0, allowed)->id)
              << count << " logits, temperature " << params[row].temperature << ", top_k "
              << params[row].top_k << ", top_p " << params[row].top_p << ", min_p "
              << params[row].min_p;
        }
      }
    }
  }
  EXPECT_GT(num_asked, 500);
  EXPECT_GT(num_decided, num_asked / 2);
}

TEST_P(GpuSampling, LogitsThatAreNoNumbersAreAnError) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  SummarisedRows device(GetParam(), 4, 300);
  std::vector<std::vector<float>> rows(4, std::vector<float>(300, 1.0f));
  rows[0][299] = std::numeric_limits<float>::quiet_NaN();
  rows[1][0] = -kInfinity;
  rows[3][150] = kInfinity;
  const std::vector<LogitsUse> uses(4, {.is_whole = false, .temperature = 1});
  const StepLogits logits = device.put(rows, uses);
  Sampler sampler;
  const SamplingParams params{.temperature = 1, .top_k = 300, .min_p = 0.5f, .seed = 1};
  for (int64_t row = 0; row < 4; ++row) {
    const auto chosen = sampler.sample(*logits.summary(row), params, {}, 0);
    ASSERT_EQ(chosen.has_value(), row == 2);
    if (!chosen) {
      EXPECT_EQ(chosen.error().code, ErrorCode::corrupt_data);
    }
  }
}

/// Tokens of even ids, then of ids that 7 divides, and so on.
class EveryOther final : public TokenConstraint {
 public:
  class State final : public ConstraintState {
   public:
    explicit State(int64_t vocab_size) : sets_{TokenSet(vocab_size), TokenSet(vocab_size)} {
      for (TokenId id = 0; id < vocab_size; ++id) {
        if (id % 2 == 0) sets_[0].insert(id);
        if (id % 7 == 0) sets_[1].insert(id);
      }
    }
    Result<const TokenSet*> allowed(int64_t) override {
      return num_accepted_ % 3 == 2 ? nullptr : &sets_[num_accepted_ % 3];
    }
    void accept(TokenId) override { ++num_accepted_; }

   private:
    std::array<TokenSet, 2> sets_;
    size_t num_accepted_ = 0;
  };
  std::unique_ptr<ConstraintState> start() const override {
    return std::make_unique<State>(bundled_tokenizer().vocab_size());
  }
};

std::vector<GenerationRequest> requests_of_all_kinds() {
  const SamplingParams kinds[] = {
      {.temperature = 0},
      {.temperature = 1, .top_k = 40, .top_p = 0.95f},
      {.temperature = 1.3f},
      {.temperature = 1, .top_p = 0.8f},
      {.temperature = 0.8f, .min_p = 0.05f},
      {.temperature = 1, .top_k = 5, .logprobs = 3},
      {.temperature = 1, .top_k = 20, .frequency_penalty = 0.5f},
      {.temperature = 0, .prompt_logprobs = 2},
      {.temperature = 2, .top_k = 71},
  };
  std::vector<GenerationRequest> requests;
  for (const SamplingParams& kind : kinds) {
    for (const bool is_constrained : {false, true}) {
      GenerationRequest request{.sampling = kind};
      const auto number = static_cast<TokenId>(requests.size());
      request.prompt_ids = {100, number, 200, number + 50, 300};
      request.sampling.max_tokens = 7;
      request.sampling.ignore_eos = true;
      request.sampling.seed = 40 + static_cast<uint64_t>(number);
      if (is_constrained) request.constraint = std::make_shared<EveryOther>();
      requests.push_back(std::move(request));
    }
  }
  return requests;
}

struct Told {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  bool operator==(const Told&) const = default;
};

std::vector<Told> answers_of(DeviceModel& model, const std::vector<GenerationRequest>& requests,
                             int64_t drafted) {
  EngineOptions options{.max_model_len = 32,
                        .max_num_seqs = 6,
                        .max_num_batched_tokens = 32,
                        .kv_memory = {.bytes = 1 << 20}};
  options.ngram.num_speculative_tokens = drafted;
  options.ngram.prompt_lookup_min = 1;
  const auto engine = Engine::start(model, bundled_tokenizer(), options).value();
  std::vector<std::shared_ptr<Listener>> listeners;
  for (const GenerationRequest& request : requests) {
    listeners.push_back(std::make_shared<Listener>());
    EXPECT_TRUE(engine->submit(request, listeners.back()));
  }
  std::vector<Told> answers;
  for (const auto& listener : listeners) {
    const GenerationEvent end = listener->wait_for_end();
    EXPECT_FALSE(end.error) << end.error->message;
    answers.push_back({.tokens = end.token_ids, .logprobs = {}});
    for (const TokenLogprobs& each : end.logprobs)
      answers.back().logprobs.push_back(each.token.logprob);
    for (const TokenLogprobs& each : listener->prompt_logprobs())
      answers.back().logprobs.push_back(each.token.logprob);
  }
  return answers;
}

TEST_P(GpuSampling, TheEnginesTokensAreThoseOfWholeRows) {
  if (kSanitized) GTEST_SKIP() << "an emulated GPU under sanitizers takes half a minute for it";
  const BundledWeights bundled = bundled_weights(1);
  gpu::WatchedDevice::Copies copies;
  const auto model =
      load_on(std::make_unique<gpu::WatchedDevice>(emulated(GetParam()), copies), bundled).value();
  WholeRows whole(*model);
  const std::vector<GenerationRequest> requests = requests_of_all_kinds();
  const std::vector<Told> expected = answers_of(whole, requests, 0);
  for (const Told& answer : expected)
    EXPECT_EQ(answer.tokens.size(), 7u);
  EXPECT_EQ(answers_of(*model, requests, 0), expected);
  EXPECT_EQ(answers_of(*model, requests, 2), expected) << "with drafts";

  // What asks for no more than the best or the likeliest brings less than a row of logits a token.
  const std::vector<GenerationRequest> usual(requests.begin(), requests.begin() + 4);
  copies.clear();
  answers_of(*model, usual, 0);
  int64_t bytes = 0;
  for (const int64_t each : copies.to_host)
    bytes += each;
  EXPECT_LT(bytes, 4 * 7 * model->config().vocab_size * int64_t{sizeof(float)} / 2);
}

INSTANTIATE_TEST_SUITE_P(Fragments, GpuSampling, testing::Bool(), [](const auto& kind) {
  return std::string(kind.param ? "gfx12" : "nvidia");
});

}  // namespace
}  // namespace tetrad
