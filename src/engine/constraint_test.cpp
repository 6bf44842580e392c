// Answers that are held to a constraint, computed by the model that comes with the repository.

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "engine/bundled_model.h"
#include "engine/engine.h"
#include "model/cpu_model.h"

namespace tetrad {
namespace {

/// Tokens of even ids, and after ten of them an odd one.
class EvenThenOdd final : public TokenConstraint {
 public:
  class State final : public ConstraintState {
   public:
    explicit State(int64_t vocab_size) : even_(vocab_size), odd_(vocab_size) {
      for (TokenId id = 0; id < vocab_size; ++id)
        (id % 2 == 0 ? even_ : odd_).insert(id);
    }
    Result<const TokenSet*> allowed(int64_t num_tokens_left) override {
      EXPECT_EQ(num_tokens_left, 24 - num_accepted_);
      return num_accepted_ % 11 == 10 ? &odd_ : &even_;
    }
    void accept(TokenId) override { ++num_accepted_; }

   private:
    TokenSet even_;
    TokenSet odd_;
    int64_t num_accepted_ = 0;
  };
  std::unique_ptr<ConstraintState> start() const override {
    return std::make_unique<State>(bundled_tokenizer().vocab_size());
  }
};

/// Fails, or allows nothing, as its third token is asked for.
class DeadEnd final : public TokenConstraint {
 public:
  explicit DeadEnd(bool fails) : fails_(fails) {}

  class State final : public ConstraintState {
   public:
    explicit State(bool fails) : fails_(fails), none_(bundled_tokenizer().vocab_size()) {}
    Result<const TokenSet*> allowed(int64_t) override {
      if (++num_asked_ < 3) return nullptr;
      if (fails_) return fail(ErrorCode::internal, "it fails");
      return &none_;
    }
    void accept(TokenId) override {}

   private:
    bool fails_;
    TokenSet none_;
    int num_asked_ = 0;
  };
  std::unique_ptr<ConstraintState> start() const override {
    return std::make_unique<State>(fails_);
  }

 private:
  bool fails_;
};

class Collector final : public EventSink {
 public:
  void on_event(GenerationEvent event) override {
    const std::scoped_lock lock(mutex_);
    ids_.insert(ids_.end(), event.token_ids.begin(), event.token_ids.end());
    if (event.finish_reason) last_ = std::move(event);
    changed_.notify_all();
  }
  GenerationEvent wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return last_.has_value(); });
    GenerationEvent all = *last_;
    all.token_ids = ids_;
    return all;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TokenId> ids_;
  std::optional<GenerationEvent> last_;
};

class ConstraintTest : public ::testing::Test {
 protected:
  std::unique_ptr<Engine> start(int64_t num_speculative_tokens = 0) {
    EngineOptions options{.max_model_len = 256, .max_num_seqs = 4};
    options.ngram.num_speculative_tokens = num_speculative_tokens;
    auto engine = Engine::start(on_cpu_, bundled_tokenizer(), options);
    EXPECT_TRUE(engine);
    return std::move(*engine);
  }
  static GenerationEvent answer(Engine& engine, std::shared_ptr<const TokenConstraint> constraint,
                                float temperature) {
    GenerationRequest request{.prompt_ids = {5, 6, 7, 8, 5, 6, 7, 8},
                              .sampling = {.temperature = temperature, .seed = 3, .max_tokens = 24},
                              .constraint = std::move(constraint)};
    auto collector = std::make_shared<Collector>();
    EXPECT_TRUE(engine.submit(std::move(request), collector));
    return collector->wait();
  }

  const std::shared_ptr<const Checkpoint> checkpoint_ =
      std::make_shared<const Checkpoint>(*Checkpoint::open(bundled_model()));
  const std::unique_ptr<MiniMaxM2> model_ =
      *MiniMaxM2::load(checkpoint_, *make_cpu_kernels(std::make_shared<ThreadPool>(2), "auto"));
  CpuModel on_cpu_{*model_, {}};
};

TEST_F(ConstraintTest, EveryTokenIsOneThatWasAllowed) {
  const auto engine = start();
  for (const float temperature : {0.0f, 1.5f}) {
    const GenerationEvent event = answer(*engine, std::make_shared<EvenThenOdd>(), temperature);
    ASSERT_EQ(event.token_ids.size(), 24U);
    for (size_t i = 0; i < event.token_ids.size(); ++i)
      EXPECT_EQ(event.token_ids[i] % 2, i % 11 == 10 ? 1 : 0) << i;
  }
}

TEST_F(ConstraintTest, DraftsChangeNothing) {
  const auto plain = start();
  const auto drafting = start(/*num_speculative_tokens=*/4);
  const auto constraint = std::make_shared<EvenThenOdd>();
  EXPECT_EQ(answer(*plain, constraint, 0).token_ids, answer(*drafting, constraint, 0).token_ids);
}

TEST_F(ConstraintTest, ADeadEndIsAnErrorOfItsRequestAlone) {
  const auto engine = start();
  for (const bool fails : {true, false}) {
    const GenerationEvent event = answer(*engine, std::make_shared<DeadEnd>(fails), 0);
    EXPECT_EQ(event.finish_reason, FinishReason::error);
    ASSERT_TRUE(event.error);
    EXPECT_NE(event.error->message.find(fails ? "it fails" : "no token is left"),
              std::string::npos);
    EXPECT_EQ(event.token_ids.size(), 2U);
  }
  EXPECT_EQ(answer(*engine, nullptr, 0).finish_reason, FinishReason::length);
}

}  // namespace
}  // namespace tetrad
