// The engine over a GPU's kernels, emulated, with either machine's fragments: the same answers as
// the CPU's, and the engine's contract: a request's tokens do not depend on its company, on how
// its prompt is cut, on cached prefixes, drafts or preemption.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/sanitized_for_tests.h"
#include "bundled_gpu_model.h"
#include "engine/bundled_model.h"
#include "engine/engine.h"
#include "engine/listener_for_tests.h"
#include "kernels/kernels.h"
#include "model/cpu_model.h"
#include "model/sequence_runner.h"

namespace tetrad {
namespace {

using Answers = std::vector<std::vector<TokenId>>;

/// What happened beside the answers.
class StepCounter final : public EngineObserver {
 public:
  void on_step(const StepReport& report) override {
    preemptions += report.num_preemptions;
    cached_tokens += report.prefix_cache_hits;
    draft_tokens += report.num_draft_tokens;
  }
  int64_t preemptions = 0;
  int64_t cached_tokens = 0;
  int64_t draft_tokens = 0;
};

std::vector<TokenId> golden_prompt(size_t index) {
  const auto path = std::filesystem::path(TETRAD_SOURCE_DIR) / "tests/golden/prompt_ids.json";
  const json::value file = parse_json(read_text_file(path).value()).value();
  return json::value_to<std::vector<TokenId>>(file.at(index).at("ids"));
}

/// Three requests: greedy, sampled, and one that wants the log probabilities of its prompt.
std::vector<GenerationRequest> three_requests() {
  std::vector<GenerationRequest> requests;
  for (const size_t prompt : {2, 5, 0})
    requests.push_back({.prompt_ids = golden_prompt(prompt)});
  requests[0].prompt_ids.resize(31);  // a block more at its second token, as the next at its first
  for (GenerationRequest& request : requests) {
    request.sampling.max_tokens = 5;
    request.sampling.ignore_eos = true;
    request.sampling.temperature = 0;
  }
  requests[1].sampling.temperature = 1.2f;
  requests[1].sampling.seed = 7;
  requests[2].sampling.prompt_logprobs = 1;
  return requests;
}

/// With what each request was told of its prompt, so that those rows are compared, too.
struct ToldAnswers {
  Answers tokens;
  std::vector<float> prompt_logprobs;
  bool operator==(const ToldAnswers&) const = default;
};

class GpuEngine : public testing::TestWithParam<bool> {
 protected:
  static EngineOptions options() {
    return {.max_model_len = 64,
            .max_num_seqs = 4,
            .max_num_batched_tokens = 128,
            .kv_memory = {.bytes = 1 << 20}};
  }

  void take(Listener& listener, ToldAnswers& answers) {
    const GenerationEvent end = listener.wait_for_end();
    EXPECT_FALSE(end.error) << end.error->message;
    answers.tokens.push_back(end.token_ids);
  }

  ToldAnswers answers(Engine& engine, bool together) {
    ToldAnswers told;
    std::vector<std::shared_ptr<Listener>> listeners;
    for (const GenerationRequest& request : three_requests()) {
      listeners.push_back(std::make_shared<Listener>());
      EXPECT_TRUE(engine.submit(request, listeners.back()));
      if (!together) listeners.back()->wait_for_end();
    }
    for (const auto& listener : listeners) {
      take(*listener, told);
      for (const TokenLogprobs& each : listener->prompt_logprobs())
        told.prompt_logprobs.push_back(each.token.logprob);
    }
    return told;
  }
  ToldAnswers answers(const EngineOptions& with, bool together) {
    const auto engine = Engine::start(*model_, bundled_tokenizer(), with);
    EXPECT_TRUE(engine) << engine.error().message;
    return answers(**engine, together);
  }

  const BundledWeights bundled_ = bundled_weights(2);
  const std::unique_ptr<GpuDeviceModel> model_ = load_on(emulated(GetParam()), bundled_).value();
};

constexpr const char* kLong = "takes minutes under a sanitizer; the release tests compute it";

TEST_P(GpuEngine, TokensDependOnTheRequestAlone) {
  // One machine's fragments do there: what differs is in the kernels' own tests.
  if (kSanitized && GetParam()) GTEST_SKIP() << kLong;
  const ToldAnswers alone = answers(options(), false);
  for (const auto& tokens : alone.tokens)
    EXPECT_EQ(tokens.size(), 5u);
  EXPECT_EQ(alone.prompt_logprobs.size(), golden_prompt(0).size() - 1);

  EXPECT_EQ(answers(options(), true), alone) << "together";

  EngineOptions chunked = options();
  chunked.max_num_batched_tokens = 16;
  EXPECT_EQ(answers(chunked, true), alone) << "in pieces of 16 tokens";

  // Two grow beyond 4 blocks of 16.
  EngineOptions small = options();
  auto counter = std::make_shared<StepCounter>();
  small.observer = counter;
  small.kv_memory.bytes = 4 * model_->kv_block_bytes();
  EXPECT_EQ(answers(small, true), alone) << "preempted";
  EXPECT_GT(counter->preemptions, 0);

  // The same engine again: prompts are found in its cache, and drafts in what was said.
  EngineOptions drafting = options();
  drafting.ngram.num_speculative_tokens = 3;
  drafting.ngram.prompt_lookup_min = 1;
  counter = std::make_shared<StepCounter>();
  drafting.observer = counter;
  const auto engine = Engine::start(*model_, bundled_tokenizer(), drafting).value();
  EXPECT_EQ(answers(*engine, true), alone) << "with drafts";
  EXPECT_EQ(answers(*engine, true), alone) << "with drafts and cached prompts";
  EXPECT_GT(counter->cached_tokens, 0);
  EXPECT_GT(counter->draft_tokens, 0);
}

TEST_P(GpuEngine, OneAtATimeAndAgainInOtherSizes) {
  EngineOptions tiny = options();
  tiny.max_model_len = 16;
  tiny.max_num_batched_tokens = 16;
  auto first = Engine::start(*model_, bundled_tokenizer(), tiny);
  ASSERT_TRUE(first) << first.error().message;
  const auto second = Engine::start(*model_, bundled_tokenizer(), options());
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("already"), std::string::npos);
  first->reset();
  EXPECT_TRUE(Engine::start(*model_, bundled_tokenizer(), options()));
}

TEST_P(GpuEngine, SaysWhatWouldFit) {
  const auto refused = [&](const EngineOptions& with) {
    const auto engine = Engine::start(*model_, bundled_tokenizer(), with);
    EXPECT_FALSE(engine);
    return engine ? Error{} : engine.error();
  };
  EngineOptions with = options();
  with.kv_memory.bytes = 3 * model_->kv_block_bytes();
  Error error = refused(with);
  EXPECT_EQ(error.param, "--max-model-len");
  EXPECT_NE(error.message.find("use --max-model-len 48"), std::string::npos) << error.message;

  with.kv_memory.bytes = int64_t{1} << 50;
  error = refused(with);
  EXPECT_EQ(error.param, "--kv-cache-memory");
  EXPECT_NE(error.message.find("of which the weights take"), std::string::npos) << error.message;

  with.kv_memory = {.utilization = 0.01};
  error = refused(with);  // the machine's other programs have more of it
  EXPECT_EQ(error.param, "--gpu-memory-utilization");
  EXPECT_NE(error.message.find("--gpu-memory-utilization 0."), std::string::npos) << error.message;
  EXPECT_NE(error.message.find("would do"), std::string::npos) << error.message;
}

TEST_P(GpuEngine, MoreRowsOfLogitsThanFitAtOnceHaveTheSameBits) {
  // 64 rows at once: 70 take two pieces.
  std::vector<TokenId> ids = golden_prompt(3);
  ids.resize(70);
  auto runner = SequenceRunner::create(*model_, 128).value();
  const Activations all = runner.append(ids, SequenceRunner::Logits::every_token).value();
  ASSERT_EQ(all.rows, 70);
  const std::vector<float> whole(all.data, all.data + all.rows * all.cols);
  runner.reset();
  for (size_t first = 0; first < ids.size(); first += 35) {
    const Activations half =
        runner.append(std::span(ids).subspan(first, 35), SequenceRunner::Logits::every_token)
            .value();
    ASSERT_TRUE(std::equal(half.data, half.data + half.rows * half.cols,
                           whole.begin() + static_cast<int64_t>(first) * all.cols));
  }
}

INSTANTIATE_TEST_SUITE_P(Fragments, GpuEngine, testing::Bool(), [](const auto& kind) {
  return std::string(kind.param ? "gfx12" : "nvidia");
});

class GpuGreedy : public testing::TestWithParam<bool> {};

/// Greedy, all layers, through the engine, against the CPU in float32 with the same FP8 cache, as
/// long as the CPU's choice is no close one.
TEST_P(GpuGreedy, TokensAreThoseOfTheCpu) {
  if (kSanitized) GTEST_SKIP() << kLong;
  constexpr float kCloseMargin = 0.5f;
  const BundledWeights bundled = bundled_weights(8);
  int64_t last_done = 0;
  int64_t total = 0;
  const auto model = load_on(emulated(GetParam()), bundled, [&](int64_t done, int64_t all) {
                       EXPECT_GE(done, last_done);
                       last_done = done;
                       total = all;
                     }).value();
  EXPECT_EQ(last_done, total);
  EXPECT_EQ(total, bundled.weights.total_bytes());
  const auto engine = Engine::start(*model, bundled_tokenizer(),
                                    {.max_model_len = 64,
                                     .max_num_seqs = 1,
                                     .max_num_batched_tokens = 32,
                                     .kv_memory = {.bytes = 1 << 20}})
                          .value();
  GenerationRequest request{.prompt_ids = golden_prompt(0)};
  request.sampling.temperature = 0;
  request.sampling.max_tokens = 8;
  request.sampling.ignore_eos = true;
  const auto listener = std::make_shared<Listener>();
  ASSERT_TRUE(engine->submit(request, listener));
  const std::vector<TokenId> tokens = listener->wait_for_end().token_ids;
  ASSERT_EQ(tokens.size(), 8u);

  MiniMaxM2 cpu(
      bundled.config, bundled.weights, bundled.checkpoint,
      make_cpu_kernels(std::make_shared<ThreadPool>(2), "auto", ActivationType::f32).value());
  auto runner = SequenceRunner::create(cpu, bundled.kv_cache, 64).value();
  std::vector<TokenId> next = request.prompt_ids;
  int compared = 0;
  for (const TokenId token : tokens) {
    const Activations logits = runner.append(next, SequenceRunner::Logits::last_token).value();
    const float best = *std::max_element(logits.data, logits.data + logits.cols);
    if (best != logits.data[token]) {
      EXPECT_LT(best - logits.data[token], kCloseMargin) << "token " << compared;
    }
    ++compared;
    next = {token};
  }
  EXPECT_EQ(compared, 8);
}

INSTANTIATE_TEST_SUITE_P(Fragments, GpuGreedy, testing::Bool(), [](const auto& kind) {
  return std::string(kind.param ? "gfx12" : "nvidia");
});

}  // namespace
}  // namespace tetrad
