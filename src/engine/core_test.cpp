// When sinks hear of what a step chose: while the next one is computed, and never too late.

#include "engine/core.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "engine/bundled_model.h"

namespace tetrad {
namespace {

constexpr int64_t kCoreVocabulary = 16;
using Log = std::vector<std::string>;

/// Says after each token that the next id comes, and notes when it was asked.
class CountingModel final : public StepModel {
 public:
  explicit CountingModel(Log& log) : log_(log) {}
  void fail_next_start() { start_fails_ = true; }
  void fail_next_finish() { finish_fails_ = true; }

  Result<Activations> forward(const Batch& batch) override {
    logits_.assign(batch.logits_rows.size() * kCoreVocabulary, 0.0f);
    for (size_t row = 0; row < batch.logits_rows.size(); ++row) {
      const int32_t token = batch.token_ids[static_cast<size_t>(batch.logits_rows[row])];
      logits_[row * kCoreVocabulary + static_cast<size_t>((token + 1) % kCoreVocabulary)] = 1;
    }
    return Activations{logits_.data(), std::ssize(batch.logits_rows), kCoreVocabulary};
  }
  Result<void> start(const Batch& batch, std::span<const LogitsUse> uses) override {
    EXPECT_EQ(uses.size(), batch.logits_rows.size());
    log_.emplace_back("start");
    if (std::exchange(start_fails_, false)) return fail(ErrorCode::internal, "it does not start");
    return StepModel::start(batch, uses);
  }
  Result<StepLogits> finish() override {
    log_.emplace_back("finish");
    if (std::exchange(finish_fails_, false)) return fail(ErrorCode::internal, "it does not end");
    return StepModel::finish();
  }

 private:
  Log& log_;
  std::vector<float> logits_;
  bool start_fails_ = false;
  bool finish_fails_ = false;
};

class LoggingSink final : public EventSink {
 public:
  LoggingSink(Log& log, std::string name) : log_(log), name_(std::move(name)) {}
  void on_event(GenerationEvent event) override {
    for (const TokenId id : event.token_ids)
      log_.push_back(name_ + " " + std::to_string(id));
    if (event.finish_reason) log_.push_back(name_ + " " + finish_reason_name(*event.finish_reason));
  }

 private:
  Log& log_;
  std::string name_;
};

class EngineCoreTest : public testing::Test {
 protected:
  RequestId add(const std::string& name, TokenId first, int64_t max_tokens) {
    return add_to(core_, name, first, max_tokens);
  }
  RequestId add_to(EngineCore& core, const std::string& name, TokenId first, int64_t max_tokens,
                   bool ignore_eos = false) {
    GenerationRequest request{.prompt_ids = {first}};
    request.sampling.temperature = 0;
    request.sampling.max_tokens = max_tokens;
    request.sampling.seed = 1;
    request.sampling.ignore_eos = ignore_eos;
    core.add(std::make_unique<Sequence>(++last_id_, std::move(request),
                                        std::make_shared<LoggingSink>(log_, name),
                                        bundled_tokenizer(), clock_.now()));
    return last_id_;
  }
  /// What has happened since the last call.
  Log news() { return std::exchange(log_, {}); }

  Log log_;
  CountingModel model_{log_};
  SteadyClock clock_;
  EngineObserver observer_;
  EngineCore core_{{.max_num_seqs = 4, .max_num_batched_tokens = 16, .num_kv_blocks = 8},
                   PrefixIndex::Key{},
                   {15},
                   model_,
                   clock_,
                   observer_};
  RequestId last_id_ = 0;
};

TEST_F(EngineCoreTest, SinksHearOfAStepWhileTheNextIsComputed) {
  add("a", 3, 3);
  core_.step();
  EXPECT_EQ(news(), (Log{"start", "finish"}));
  core_.step();
  EXPECT_EQ(news(), (Log{"start", "a 4", "finish"}));
  // After the last step there is none to wait for.
  core_.step();
  EXPECT_EQ(news(), (Log{"start", "a 5", "finish", "a 6", "a length"}));
  EXPECT_TRUE(core_.is_idle());
}

TEST_F(EngineCoreTest, WhoHasEndedHearsOfItWhileOthersGoOn) {
  add("a", 3, 4);
  add("b", 13, 9);
  core_.step();
  core_.step();
  EXPECT_EQ(news(), (Log{"start", "finish", "start", "a 4", "b 14", "finish"}));
  core_.step();  // 15 is the end token
  EXPECT_EQ(news(), (Log{"start", "a 5", "b 15", "b stop", "finish"}));
}

TEST_F(EngineCoreTest, CancelAndPauseDoNotOvertakeTokens) {
  const RequestId a = add("a", 3, 9);
  const RequestId b = add("b", 7, 9);
  core_.step();
  news();
  core_.cancel(a);
  EXPECT_EQ(news(), (Log{"a 4", "b 8", "a cancelled"}));
  core_.step();
  EXPECT_EQ(news(), (Log{"start", "finish"}));
  core_.set_paused(b, true);
  EXPECT_EQ(news(), (Log{"b 9"}));
  EXPECT_FALSE(core_.has_work());
  core_.set_paused(b, false);
  core_.step();
  core_.cancel_all();
  EXPECT_EQ(news(), (Log{"start", "finish", "b 10", "b cancelled"}));
}

TEST_F(EngineCoreTest, WhoIsPreemptedHearsOfWhatWasChosenBefore) {
  // Both need a second block with their 17th token, and there is one for one of them.
  EngineCore core({.max_num_seqs = 4, .max_num_batched_tokens = 16, .num_kv_blocks = 3},
                  PrefixIndex::Key{}, {15}, model_, clock_, observer_);
  add_to(core, "a", 3, 20, true);
  add_to(core, "b", 7, 20, true);
  for (int i = 0; i < 16; ++i)
    core.step();
  Log all = news();
  core.step();
  ASSERT_EQ(core.scheduler().num_waiting(), 1);
  const Log preempting = news();
  EXPECT_EQ(preempting, (Log{"start", "a 3", "b 7", "finish"}));
  all.insert(all.end(), preempting.begin(), preempting.end());
  while (!core.is_idle())
    core.step();
  const Log rest = news();
  all.insert(all.end(), rest.begin(), rest.end());
  for (const auto& [name, first] : {std::pair{"a", 3}, std::pair{"b", 7}}) {
    Log heard, expected;
    std::ranges::copy_if(all, std::back_inserter(heard),
                         [&](const std::string& entry) { return entry.starts_with(name); });
    for (int i = 1; i <= 20; ++i)
      expected.push_back(std::string(name) + " " + std::to_string((first + i) % kCoreVocabulary));
    expected.push_back(std::string(name) + " length");
    EXPECT_EQ(heard, expected);
  }
}

TEST_F(EngineCoreTest, AStepThatDoesNotEndIsTheEndOfItsRequests) {
  add("a", 3, 9);
  core_.step();
  news();
  model_.fail_next_finish();
  core_.step();
  EXPECT_EQ(news(), (Log{"start", "a 4", "finish", "a error"}));
  EXPECT_TRUE(core_.is_idle());
  add("b", 3, 1);
  core_.step();
  EXPECT_EQ(news(), (Log{"start", "finish", "b 4", "b length"}));
}

TEST_F(EngineCoreTest, AStepThatDoesNotStartIsTheEndOfItsRequests) {
  add("a", 3, 9);
  core_.step();
  news();
  model_.fail_next_start();
  core_.step();
  EXPECT_EQ(news(), (Log{"start", "a 4", "a error"}));
  EXPECT_TRUE(core_.is_idle());
}

}  // namespace
}  // namespace tetrad
