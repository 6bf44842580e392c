// The engine over many ranks, which are threads: rank 0 leads, the others follow.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "engine/bundled_model.h"
#include "engine/engine.h"
#include "engine/listener_for_tests.h"
#include "kernels/kernels.h"
#include "model/cpu_rank_model.h"
#include "model/following_model.h"
#include "model/leading_model.h"
#include "model/rank_agreement.h"
#include "model/sequence_runner.h"
#include "model/whole_rows_for_tests.h"
#include "parallel/forwarding_communicator_for_tests.h"
#include "parallel/in_process.h"

namespace tetrad {
namespace {

using parallel::Communicator;
using testing::HasSubstr;

constexpr std::chrono::milliseconds kBeat{50};

std::shared_ptr<const Checkpoint> bundled_checkpoint() {
  static const auto checkpoint =
      std::make_shared<const Checkpoint>(Checkpoint::open(bundled_model()).value());
  return checkpoint;
}

std::unique_ptr<MiniMaxM2> share_of(plan::Layout layout, std::shared_ptr<Communicator> end) {
  return MiniMaxM2::load(bundled_checkpoint(),
                         make_cpu_kernels(std::make_shared<ThreadPool>(1), "auto").value(), layout,
                         std::move(end))
      .value();
}

/// Ranks that follow, as threads, and a model that leads them.
class Led {
 public:
  using Wrap = std::function<std::shared_ptr<Communicator>(std::shared_ptr<Communicator>)>;

  explicit Led(plan::Layout layout, const Wrap& wrap_first = nullptr,
               const Wrap& wrap_last = nullptr) {
    auto ends = parallel::make_in_process_ranks(static_cast<int>(layout.tensor_parallel));
    errors_.resize(ends.size());
    for (size_t rank = 1; rank < ends.size(); ++rank) {
      std::shared_ptr<Communicator> end = std::move(ends[rank]);
      if (wrap_last && rank + 1 == ends.size()) end = wrap_last(std::move(end));
      threads_.emplace_back([this, layout, rank, end = std::move(end)]() mutable {
        const auto key = parallel::MessageKey::exchange(*end, std::nullopt);
        const auto share = share_of(layout, end);
        CpuRankModel model(CpuModel(*share, {}, layout.tensor_parallel), end);
        const auto followed = follow_rank_0(model, std::move(end), *key);
        if (!followed) errors_[rank] = followed.error().message;
      });
    }
    std::shared_ptr<Communicator> first = std::move(ends[0]);
    if (wrap_first) first = wrap_first(std::move(first));
    const auto key = parallel::MessageKey::exchange(*first, std::nullopt);
    share_ = share_of(layout, first);
    model_ = std::make_unique<LeadingModel>(
        std::make_unique<CpuRankModel>(CpuModel(*share_, {}, layout.tensor_parallel), first), first,
        *key, kBeat, [this](const Error& e) {
          loss_ = e.message;
          ++num_losses_;
        });
  }
  ~Led() { end(); }
  Led(const Led&) = delete;
  Led& operator=(const Led&) = delete;

  LeadingModel& model() { return *model_; }
  int num_losses() const { return num_losses_; }
  const std::string& loss() const { return loss_; }
  /// Of a rank, when all have ended.
  const std::string& error_of(size_t rank) {
    end();
    return errors_[rank];
  }

 private:
  void end() {
    model_.reset();
    share_.reset();
    for (std::thread& thread : threads_)
      thread.join();
    threads_.clear();
  }

  std::vector<std::string> errors_;
  std::vector<std::thread> threads_;
  std::unique_ptr<MiniMaxM2> share_;
  std::atomic<int> num_losses_ = 0;
  std::string loss_;
  std::unique_ptr<LeadingModel> model_;
};

/// Tells of what is gathered and broadcast, and leaves when `stays` says no.
class Watched final : public parallel::ForwardingCommunicator {
 public:
  using Stays = std::function<bool(int64_t bytes, bool is_broadcast)>;
  Watched(std::shared_ptr<Communicator> ranks, Stays stays)
      : ForwardingCommunicator(std::move(ranks)), stays_(std::move(stays)) {}
  Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    if (!stays_(std::ssize(mine), false)) leave();
    return ForwardingCommunicator::all_gather(mine, all);
  }
  Result<void> broadcast(std::span<std::byte> bytes, int root) override {
    if (!stays_(std::ssize(bytes), true)) leave();
    return ForwardingCommunicator::broadcast(bytes, root);
  }

 private:
  Stays stays_;
};

std::vector<GenerationRequest> requests_of_many_kinds() {
  const std::vector<SamplingParams> kinds{{.temperature = 0},
                                          {.temperature = 1, .top_k = 40, .top_p = 0.95f},
                                          {.temperature = 0.8f, .top_p = 0.9f},
                                          {.temperature = 1, .min_p = 0.05f},
                                          {.temperature = 1},
                                          {.temperature = 0, .frequency_penalty = 0.5f},
                                          {.temperature = 1, .top_k = 20, .logprobs = 3}};
  std::vector<GenerationRequest> requests;
  for (size_t i = 0; i < kinds.size(); ++i) {
    GenerationRequest request{.sampling = kinds[i]};
    request.prompt_ids =
        bundled_tokenizer().encode(i % 2 == 0 ? "The capital of France" : "Once upon a").value();
    request.sampling.max_tokens = 12;
    request.sampling.ignore_eos = true;
    request.sampling.seed = 17 + i;
    requests.push_back(std::move(request));
  }
  return requests;
}

std::vector<std::vector<TokenId>> answers_of(DeviceModel& model,
                                             const std::vector<GenerationRequest>& requests,
                                             NgramOptions ngram = {}) {
  const auto engine = Engine::start(model, bundled_tokenizer(),
                                    {.max_model_len = 256, .max_num_seqs = 8, .ngram = ngram})
                          .value();
  std::vector<std::shared_ptr<Listener>> listeners;
  for (const GenerationRequest& request : requests) {
    listeners.push_back(std::make_shared<Listener>());
    EXPECT_TRUE(engine->submit(request, listeners.back()));
  }
  std::vector<std::vector<TokenId>> answers;
  for (const auto& listener : listeners) {
    const GenerationEvent end = listener->wait_for_end();
    EXPECT_FALSE(end.error) << end.error->message;
    answers.push_back(end.token_ids);
  }
  return answers;
}

TEST(RanksUnderTheEngine, ChooseTheTokensOfWholeRows) {
  const auto requests = requests_of_many_kinds();
  for (const plan::Layout layout : {plan::Layout{2, false}, plan::Layout{4, true}}) {
    Led ranks(layout);
    const auto answers = answers_of(ranks.model(), requests);
    WholeRows whole(ranks.model());
    EXPECT_EQ(answers, answers_of(whole, requests));
    EXPECT_EQ(answers[0].size(), 12u);
    // With drafts several rows choose.
    EXPECT_EQ(answers, answers_of(ranks.model(), requests,
                                  {.num_speculative_tokens = 3, .prompt_lookup_max = 3}));
    EXPECT_EQ(ranks.num_losses(), 0);
    for (size_t rank = 1; rank < static_cast<size_t>(layout.tensor_parallel); ++rank)
      EXPECT_EQ(ranks.error_of(rank), "");
  }
}

TEST(RanksUnderTheEngine, GatherNoRowsForGreedyAndTopK) {
  auto requests = requests_of_many_kinds();
  requests.resize(2);
  std::atomic<int64_t> gathered = 0;
  const auto watch = [&](std::shared_ptr<Communicator> end) {
    return std::make_shared<Watched>(std::move(end), [&](int64_t bytes, bool is_broadcast) {
      gathered += is_broadcast ? 0 : bytes;
      return true;
    });
  };
  Led ranks({.tensor_parallel = 2}, watch);
  answers_of(ranks.model(), requests);
  const int64_t by_summaries = gathered;
  WholeRows whole(ranks.model());
  answers_of(whole, requests);
  const int64_t by_rows = gathered - by_summaries;
  const int64_t row = ranks.model().config().vocab_size / 2 * int64_t{sizeof(float)};
  EXPECT_GE(by_rows, 24 * row);
  EXPECT_LT(by_summaries, 6 * row);
}

TEST(RanksUnderTheEngine, SayWhichHasTooLittleRoom) {
  Led ranks({.tensor_parallel = 2});
  const auto engine = Engine::start(ranks.model(), bundled_tokenizer(),
                                    {.max_model_len = 256, .kv_memory = {.bytes = 1000}});
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().param, "--kv-cache-memory");
  // Which is no loss: with more room it goes on.
  EXPECT_EQ(answers_of(ranks.model(), {requests_of_many_kinds()[0]})[0].size(), 12u);
  EXPECT_EQ(ranks.num_losses(), 0);
}

TEST(RanksUnderTheEngine, StartAgainWithOtherSizes) {
  Led ranks({.tensor_parallel = 2});
  for (const int64_t longest : {1, 40, 1, 300}) {
    auto runner = SequenceRunner::create(ranks.model(), longest);
    ASSERT_TRUE(runner) << runner.error().message;
    const std::vector<int32_t> ids(static_cast<size_t>(longest), 5);
    const auto logits = runner->append(ids, SequenceRunner::Logits::every_token);
    ASSERT_TRUE(logits) << logits.error().message;
    EXPECT_EQ(logits->rows, longest);
  }
  EXPECT_EQ(ranks.num_losses(), 0);
}

TEST(RanksUnderTheEngine, EndTheirRequestsWhenOneLeaves) {
  std::atomic<int> calls = 0;
  const auto leave = [&](std::shared_ptr<Communicator> end) {
    return std::make_shared<Watched>(std::move(end), [&](int64_t, bool) { return ++calls < 30; });
  };
  Led ranks({.tensor_parallel = 2}, nullptr, leave);
  {
    const auto engine =
        Engine::start(ranks.model(), bundled_tokenizer(), {.max_model_len = 256, .max_num_seqs = 2})
            .value();
    std::vector<std::shared_ptr<Listener>> listeners;
    auto requests = requests_of_many_kinds();
    for (GenerationRequest& request : requests) {
      request.sampling.max_tokens = 200;
      listeners.push_back(std::make_shared<Listener>());
      ASSERT_TRUE(engine->submit(request, listeners.back()));
    }
    // Those that were computed and those that waited.
    for (const auto& listener : listeners) {
      const GenerationEvent end = listener->wait_for_end();
      ASSERT_TRUE(end.error);
      EXPECT_EQ(end.error->message, "rank 1 of 2 has left");
    }
  }
  EXPECT_EQ(ranks.num_losses(), 1);
  EXPECT_EQ(ranks.error_of(1), "this rank has had enough");
}

TEST(RanksUnderTheEngine, NoticeALossWhileNobodyAsks) {
  std::atomic<int> beats = 0;
  const auto leave = [&](std::shared_ptr<Communicator> end) {
    return std::make_shared<Watched>(
        std::move(end), [&](int64_t, bool is_broadcast) { return !is_broadcast || ++beats < 6; });
  };
  Led ranks({.tensor_parallel = 2}, nullptr, leave);
  const auto start = std::chrono::steady_clock::now();
  while (ranks.num_losses() == 0 && std::chrono::steady_clock::now() - start < 200 * kBeat)
    std::this_thread::sleep_for(kBeat);
  EXPECT_EQ(ranks.num_losses(), 1);
  EXPECT_EQ(ranks.loss(), "rank 1 of 2 has left");
}

TEST(RanksOfAModel, DoNotComputeWithDifferentOnes) {
  auto ends = parallel::make_in_process_ranks(2);
  std::vector<std::string> said(2);
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      const std::shared_ptr<Communicator> end = std::move(ends[rank]);
      const auto share = share_of({.tensor_parallel = 2}, end);
      const KvCacheFormat kv_cache{rank == 0 ? DType::bf16 : DType::f32, {}};
      const auto agreed = agree_on_model(*end, {.checkpoint = *bundled_checkpoint(),
                                                .weights = share->weights(),
                                                .layout = share->share().layout,
                                                .arithmetic = "avx512",
                                                .transport = "",
                                                .kv_cache = kv_cache});
      said[rank] = agreed ? "" : agreed.error().message;
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_THAT(said, testing::Each("the ranks do not agree on --kv-cache-dtype: rank 0 has BF16 and "
                                  "rank 1 has F32"));
}

}  // namespace
}  // namespace tetrad
