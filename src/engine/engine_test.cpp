// The engine as its callers see it, computing the model that comes with the repository.

#include "engine/engine.h"

#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "base/mapped_file.h"
#include "base/sanitized_for_tests.h"
#include "engine/bundled_model.h"
#include "engine/listener_for_tests.h"
#include "kernels/kernels.h"
#include "model/cpu_model.h"

namespace tetrad {
namespace {

std::shared_ptr<const Checkpoint> checkpoint() {
  static const auto opened =
      std::make_shared<const Checkpoint>(Checkpoint::open(bundled_model()).value());
  return opened;
}

/// The bundled model on processors.
struct TestedModel {
  std::unique_ptr<MiniMaxM2> model;
  CpuModel on_cpu{*model, {}};
};

/// Null where this machine lacks the instructions.
std::unique_ptr<TestedModel> make_model(const std::string& isa, int threads) {
  auto kernels = make_cpu_kernels(std::make_shared<ThreadPool>(threads), isa);
  if (!kernels) {
    EXPECT_NE(kernels.error().message.find("does not have " + isa), std::string::npos);
    return nullptr;
  }
  return std::make_unique<TestedModel>(
      TestedModel{MiniMaxM2::load(checkpoint(), std::move(*kernels)).value()});
}

DeviceModel& shared_model() {
  static const std::unique_ptr<TestedModel> model = make_model("auto", 2);
  return model->on_cpu;
}

EngineOptions small_options() {
  return {.max_model_len = 512,
          .max_num_seqs = 8,
          .eos_token_ids = checkpoint()->generation_defaults().eos_token_ids};
}

int64_t kv_block_bytes() {
  return shared_model().kv_block_bytes();
}

std::unique_ptr<Engine> start(const EngineOptions& options, DeviceModel& model = shared_model()) {
  auto engine = Engine::start(model, bundled_tokenizer(), options);
  EXPECT_TRUE(engine) << engine.error().message;
  return std::move(engine).value();
}

std::shared_ptr<Listener> submit(Engine& engine, const GenerationRequest& request,
                                 RequestId* id = nullptr) {
  auto listener = std::make_shared<Listener>();
  const auto submitted = engine.submit(request, listener);
  EXPECT_TRUE(submitted) << submitted.error().message;
  if (id != nullptr) *id = submitted.value();
  return listener;
}

/// Eight requests of 1 to 255 prompt tokens: greedy and seeded in turn.
std::vector<GenerationRequest> eight_requests() {
  const auto path = std::filesystem::path(TETRAD_SOURCE_DIR) / "tests/golden/prompt_ids.json";
  const json::value file = parse_json(read_text_file(path).value()).value();
  std::vector<GenerationRequest> requests;
  for (const json::value& prompt : file.as_array()) {
    requests.push_back({.prompt_ids = json::value_to<std::vector<TokenId>>(prompt.at("ids"))});
  }
  requests.push_back(requests.at(2));  // the same prompt twice, sampled differently
  EXPECT_EQ(requests.size(), 8u);
  for (size_t i = 0; i < requests.size(); ++i) {
    SamplingParams& sampling = requests[i].sampling;
    sampling.max_tokens = 12 + static_cast<int64_t>(i);
    sampling.ignore_eos = true;
    if (i % 2 == 0) {
      sampling.temperature = 0;
    } else {
      sampling.temperature = 1.2f;
      sampling.top_p = 0.98f;
      sampling.seed = 1000 + i;
    }
  }
  return requests;
}

/// A prompt that is answered for long: nobody ends it but max_model_len.
GenerationRequest long_request() {
  GenerationRequest request = eight_requests().front();
  request.sampling.max_tokens = 0;
  return request;
}

using Answers = std::vector<std::vector<TokenId>>;

Answers answers_together(DeviceModel& model, const EngineOptions& options) {
  const auto engine = start(options, model);
  std::vector<std::shared_ptr<Listener>> listeners;
  for (const GenerationRequest& request : eight_requests())
    listeners.push_back(submit(*engine, request));
  Answers answers;
  for (const auto& listener : listeners)
    answers.push_back(listener->wait_for_end().token_ids);
  return answers;
}

Answers answers_alone(DeviceModel& model) {
  const auto engine = start(small_options(), model);
  Answers answers;
  for (const GenerationRequest& request : eight_requests())
    answers.push_back(submit(*engine, request)->wait_for_end().token_ids);
  return answers;
}

class EngineOnKernels : public testing::TestWithParam<const char*> {};

TEST_P(EngineOnKernels, TokensDependOnTheRequestAlone) {
  if (kSanitized && std::string_view(GetParam()) != "avx512") {
    GTEST_SKIP() << "takes minutes under a sanitizer, once is enough; the release tests run it";
  }
  const auto one_thread = make_model(GetParam(), 1);
  const auto three_threads = make_model(GetParam(), 3);
  if (!one_thread) GTEST_SKIP() << "this machine has no " << GetParam();
  const Answers alone = answers_alone(one_thread->on_cpu);
  const std::vector<GenerationRequest> requests = eight_requests();
  for (size_t i = 0; i < alone.size(); ++i)
    EXPECT_EQ(static_cast<int64_t>(alone[i].size()), requests[i].sampling.max_tokens);
  EXPECT_NE(alone[2], alone[7]);  // the seed matters, so sameness below says something
  const auto expect_same = [&](DeviceModel& model, int64_t budget) {
    EngineOptions options = small_options();
    options.max_num_batched_tokens = budget;
    EXPECT_EQ(answers_together(model, options), alone) << budget << " tokens a step";
  };
  expect_same(one_thread->on_cpu, 8);  // every prompt in pieces
  expect_same(three_threads->on_cpu, 16);
  expect_same(one_thread->on_cpu, 512);
  expect_same(three_threads->on_cpu, 512);  // every prompt at once
}

INSTANTIATE_TEST_SUITE_P(Isas, EngineOnKernels, testing::Values("generic", "avx2", "avx512"),
                         [](const auto& isa) { return std::string(isa.param); });

TEST(Engine, TokensDoNotDependOnWaitingForBlocksOrPlaces) {
  const Answers alone = answers_alone(shared_model());
  EngineOptions few_blocks = small_options();
  few_blocks.kv_memory.bytes = 512 / 16 * kv_block_bytes();
  EXPECT_EQ(answers_together(shared_model(), few_blocks), alone);
  EngineOptions two_places = small_options();
  two_places.max_num_seqs = 2;
  EXPECT_EQ(answers_together(shared_model(), two_places), alone);
}

TEST(Engine, TheTextIsTheDecodingOfTheTokens) {
  const auto engine = start(small_options());
  for (const GenerationRequest& request : eight_requests()) {
    const GenerationEvent answer = submit(*engine, request)->wait_for_end();
    EXPECT_EQ(answer.finish_reason, FinishReason::length);
    EXPECT_EQ(answer.text, bundled_tokenizer().decode(answer.token_ids, true));
  }
}

TEST(Engine, EndsAtAnEndTokenAndKeepsItOutOfTheText) {
  GenerationRequest request = eight_requests().front();
  request.sampling.ignore_eos = false;
  request.sampling.skip_special_tokens = false;
  request.sampling.max_tokens = 400;
  const auto engine = start(small_options());
  const GenerationEvent answer = submit(*engine, request)->wait_for_end();
  ASSERT_EQ(answer.finish_reason, FinishReason::stop);
  ASSERT_GE(answer.token_ids.size(), 4u);
  EXPECT_EQ(answer.stop_reason, std::nullopt);
  EXPECT_EQ(answer.token_ids.back(), small_options().eos_token_ids.at(0));
  const auto before_end = std::span(answer.token_ids).first(answer.token_ids.size() - 1);
  EXPECT_EQ(answer.text, bundled_tokenizer().decode(before_end, false));

  // The same with a token of the request's own.
  request.sampling.stop_token_ids = {answer.token_ids[2]};
  const GenerationEvent shorter = submit(*engine, request)->wait_for_end();
  EXPECT_EQ(shorter.finish_reason, FinishReason::stop);
  EXPECT_LE(shorter.token_ids.size(), 3u);
  EXPECT_EQ(shorter.token_ids.back(), answer.token_ids[2]);
}

TEST(Engine, EndsBeforeAStopString) {
  const auto engine = start(small_options());
  GenerationRequest request = eight_requests().front();
  const std::string text = submit(*engine, request)->wait_for_end().text;
  ASSERT_GE(text.size(), 8u);
  const std::string stop = text.substr(text.size() / 2, 3);
  request.sampling.stop = {"never written", stop};
  const GenerationEvent answer = submit(*engine, request)->wait_for_end();
  EXPECT_EQ(answer.text, text.substr(0, text.find(stop)));
  EXPECT_EQ(answer.finish_reason, FinishReason::stop);
  EXPECT_EQ(answer.stop_reason, stop);
}

TEST(Engine, WithoutMaxTokensTheContextIsTheLimit) {
  EngineOptions options = small_options();
  options.max_model_len = 70;
  const auto engine = start(options);
  const GenerationRequest request = long_request();
  const GenerationEvent answer = submit(*engine, request)->wait_for_end();
  EXPECT_EQ(answer.finish_reason, FinishReason::length);
  EXPECT_EQ(answer.token_ids.size() + request.prompt_ids.size(), 70u);
}

TEST(Engine, CancelFreesTheBlocksAndTellsOnce) {
  EngineOptions options = small_options();
  options.max_model_len = 4096;  // long enough not to end by itself
  const auto engine = start(options);
  const int64_t all_blocks = engine->num_kv_blocks();
  EXPECT_EQ(engine->stats().free_kv_blocks, all_blocks);
  RequestId id = 0;
  const auto listener = submit(*engine, long_request(), &id);
  listener->wait_for_tokens(3);
  EXPECT_LT(engine->stats().free_kv_blocks, all_blocks);
  EXPECT_EQ(engine->stats().running, 1);
  engine->cancel(id);
  engine->cancel(id);  // a second time, perhaps when it is over already
  const GenerationEvent end = listener->wait_for_end();
  EXPECT_EQ(end.finish_reason, FinishReason::cancelled);
  EXPECT_GE(end.token_ids.size(), 3u);
  EXPECT_EQ(end.text, bundled_tokenizer().decode(end.token_ids, true));
  // Free before the sink hears of the end.
  EXPECT_EQ(engine->stats().free_kv_blocks, all_blocks);
  EXPECT_EQ(engine->stats().running, 0);

  engine->cancel(id);
  engine->cancel(12345);
  const GenerationRequest next = eight_requests().front();
  EXPECT_EQ(submit(*engine, next)->wait_for_end().finish_reason, FinishReason::length);
  EXPECT_EQ(listener->num_ends(), 1);
  EXPECT_EQ(engine->stats().free_kv_blocks, all_blocks);
}

TEST(Engine, CancelReachesAPromptInTheMiddleAndAWaitingRequest) {
  EngineOptions options = small_options();
  options.max_num_seqs = 1;
  options.max_num_batched_tokens = 1;
  options.max_model_len = 4096;
  const auto engine = start(options);
  GenerationRequest long_prompt = long_request();
  long_prompt.prompt_ids.assign(4000, 1);
  RequestId first = 0;
  RequestId second = 0;
  const auto computing = submit(*engine, long_prompt, &first);
  const auto waiting = submit(*engine, long_request(), &second);
  while (engine->stats().steps < 2)
    std::this_thread::yield();
  engine->cancel(second);
  const GenerationEvent end = waiting->wait_for_end();
  EXPECT_EQ(end.finish_reason, FinishReason::cancelled);
  EXPECT_TRUE(end.token_ids.empty());
  EXPECT_EQ(computing->num_ends(), 0);
  engine->cancel(first);
  EXPECT_EQ(computing->wait_for_end().finish_reason, FinishReason::cancelled);
  EXPECT_EQ(engine->stats().free_kv_blocks, engine->num_kv_blocks());
  EXPECT_EQ(engine->stats().waiting, 0);
}

TEST(Engine, APausedRequestStandsStillAndGoesOnWhereItWas) {
  const auto engine = start(small_options());
  GenerationRequest request = eight_requests().front();
  request.sampling.max_tokens = 300;
  request.sampling.ignore_eos = true;
  const GenerationEvent expected = submit(*engine, request)->wait_for_end();

  RequestId id = 0;
  const auto listener = submit(*engine, request, &id);
  listener->wait_for_tokens(5);
  engine->pause(id);
  // What is submitted now comes to its end, so the pause has taken effect by then.
  GenerationRequest other = eight_requests().back();
  other.sampling.max_tokens = 20;
  submit(*engine, other)->wait_for_end();
  const size_t num_tokens = listener->num_tokens();
  submit(*engine, other)->wait_for_end();  // 20 steps
  EXPECT_EQ(listener->num_tokens(), num_tokens);
  EXPECT_EQ(listener->num_ends(), 0);
  EXPECT_EQ(engine->stats().running, 1);
  engine->resume(id);
  const GenerationEvent end = listener->wait_for_end();
  EXPECT_EQ(end.token_ids, expected.token_ids);
  EXPECT_EQ(end.text, expected.text);
  engine->pause(id);  // of a finished one: nothing
}

TEST(Engine, APausedRequestCanBeCancelled) {
  const auto engine = start(small_options());
  GenerationRequest request = eight_requests().front();
  request.sampling.max_tokens = 400;
  request.sampling.ignore_eos = true;
  RequestId id = 0;
  const auto listener = submit(*engine, request, &id);
  listener->wait_for_tokens(5);
  engine->pause(id);
  engine->cancel(id);
  EXPECT_EQ(listener->wait_for_end().finish_reason, FinishReason::cancelled);
  EXPECT_EQ(engine->stats().free_kv_blocks, engine->num_kv_blocks());
}

/// Counts what was chosen for requests that have ended.
class GeneratedTokens final : public EngineObserver {
 public:
  void on_finish(const RequestReport& report) override { count += report.num_generated_tokens; }
  int64_t count = 0;
};

TEST(Engine, TheDestructorTellsEveryRequestOnceAndAllThatWasChosen) {
  EngineOptions options = small_options();
  const auto generated = std::make_shared<GeneratedTokens>();
  options.observer = generated;
  options.max_num_seqs = 3;
  options.max_model_len = 4096;
  auto engine = start(options);
  std::vector<std::shared_ptr<Listener>> listeners;
  for (int i = 0; i < 5; ++i)
    listeners.push_back(submit(*engine, long_request()));
  listeners[0]->wait_for_tokens(2);                      // three are running, two are waiting
  listeners.push_back(submit(*engine, long_request()));  // perhaps not taken by the engine yet
  engine.reset();
  int64_t num_told = 0;
  for (const auto& listener : listeners) {
    EXPECT_EQ(listener->num_ends(), 1);
    EXPECT_EQ(listener->wait_for_end().finish_reason, FinishReason::cancelled);
    num_told += static_cast<int64_t>(listener->num_tokens());
  }
  EXPECT_GE(num_told, 2);
  EXPECT_EQ(num_told, generated->count);
}

TEST(Engine, RefusesWhatItCannotCompute) {
  EngineOptions options = small_options();
  options.max_model_len = 100;
  const auto engine = start(options);
  const auto listener = std::make_shared<Listener>();
  const auto refused = [&](const GenerationRequest& request, const char* param) {
    const auto submitted = engine->submit(request, listener);
    ASSERT_FALSE(submitted);
    EXPECT_EQ(submitted.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(submitted.error().param, param);
  };
  const GenerationRequest good = eight_requests().front();
  refused({}, "prompt");
  GenerationRequest bad = good;
  bad.prompt_ids.assign(100, 1);
  refused(bad, "prompt");
  bad = good;
  bad.prompt_ids.push_back(static_cast<TokenId>(checkpoint()->config().vocab_size));
  refused(bad, "prompt");
  bad = good;
  bad.sampling.max_tokens = 100;
  refused(bad, "max_tokens");
  bad = good;
  bad.sampling.temperature = std::numeric_limits<float>::quiet_NaN();
  refused(bad, "temperature");
  EXPECT_EQ(submit(*engine, good)->wait_for_end().finish_reason, FinishReason::length);
  EXPECT_EQ(listener->num_ends(), 0);  // a refused request has no events
}

TEST(Engine, RefusesMoreThanMayWait) {
  EngineOptions options = small_options();
  options.max_num_seqs = 1;
  options.max_waiting = 2;
  options.max_model_len = 4096;
  const auto engine = start(options);
  RequestId first = 0;
  const auto running = submit(*engine, long_request(), &first);
  running->wait_for_tokens(1);
  std::vector<std::shared_ptr<Listener>> waiting{submit(*engine, long_request()),
                                                 submit(*engine, long_request())};
  EXPECT_EQ(engine->stats().waiting, 2);
  const auto late = std::make_shared<Listener>();
  const auto refused = engine->submit(long_request(), late);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::resource_exhausted);
  EXPECT_EQ(engine->check_queue().error().message, refused.error().message);
  engine->cancel(first);
  waiting[0]->wait_for_tokens(1);  // it has the place now, and there is room to wait again
  EXPECT_TRUE(engine->check_queue());
  waiting.push_back(submit(*engine, long_request()));
  EXPECT_EQ(late->num_ends(), 0);
}

TEST(Engine, RefusesOptionsThatDoNotFit) {
  const auto refused = [](const EngineOptions& options, const char* flag) {
    const auto engine = Engine::start(shared_model(), bundled_tokenizer(), options);
    ASSERT_FALSE(engine);
    EXPECT_EQ(engine.error().param, flag) << engine.error().message;
  };
  EngineOptions options = small_options();
  options.max_model_len = checkpoint()->config().max_position_embeddings + 1;
  refused(options, "--max-model-len");
  options = small_options();
  options.kv_memory.bytes = 31 * kv_block_bytes();  // 496 of 512 tokens
  refused(options, "--max-model-len");
  options.kv_memory.bytes = kv_block_bytes() - 1;  // no length would fit
  refused(options, "--kv-cache-memory");
  options = small_options();
  options.max_num_seqs = 0;
  refused(options, "--max-num-seqs");
}

}  // namespace
}  // namespace tetrad
