#include "model/leading_model.h"

#include <utility>

#include "model/rank_step.h"

namespace tetrad {
/// The engine's end of the ranks.
class LeadingModel::Steps final : public StepModel, public LogitsSource {
 public:
  Steps(LeadingModel& owner, const RankStepLimits& limits, std::unique_ptr<RankSteps> mine)
      : owner_(owner), limits_(limits), mine_(std::move(mine)) {
    owner_.is_started_ = true;
  }
  ~Steps() override { owner_.is_started_ = false; }
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;

  Result<Activations> forward(const Batch& batch) override {
    return compute(batch, {}, [&] { return mine_->forward(batch); });
  }
  Result<void> start(const Batch& batch, std::span<const LogitsUse> uses) override {
    batch_ = batch;
    uses_ = uses;
    // Of a step that talks nothing: a heartbeat must not come in between.
    if (mine_->finish_talks()) return {};
    return compute(batch, uses, [&] { return mine_->start(batch, uses); });
  }
  Result<StepLogits> finish() override {
    auto logits = mine_->finish_talks() ? compute(batch_, uses_,
                                                  [&]() -> Result<StepLogits> {
                                                    TETRAD_TRY(mine_->start(batch_, uses_));
                                                    return mine_->finish();
                                                  })
                                        : owner_.noticed_later(mine_->finish());
    TETRAD_ASSIGN(logits_, std::move(logits));
    return StepLogits(*this, logits_.num_rows());
  }

  std::optional<RowSummary> summary(int64_t row) const override { return logits_.summary(row); }
  Result<std::span<const float>> row(int64_t row) override {
    if (mine_->has_row(row)) return logits_.row(row);
    const std::lock_guard lock(owner_.mutex_);
    TETRAD_TRY(owner_.send(RankMessage::row, std::as_bytes(std::span(&row, 1))));
    return owner_.noticed(logits_.row(row));
  }

 private:
  /// Tells the others of a step and does what `mine` does. While a device computes, the heart goes
  /// on beating: the others hear it when they are ready, and whoever does not is missed, whatever
  /// the device waits for.
  template <class Mine>
  auto compute(const Batch& batch, std::span<const LogitsUse> uses, const Mine& mine)
      -> decltype(mine()) {
    TETRAD_TRY(encode_step(batch, uses, limits_, payload_));
    std::unique_lock lock(owner_.mutex_);
    TETRAD_TRY(owner_.send(RankMessage::step, payload_));
    if (mine_->finish_talks()) return owner_.noticed(mine());
    lock.unlock();
    return owner_.noticed_later(mine());
  }

  LeadingModel& owner_;
  RankStepLimits limits_;
  std::unique_ptr<RankSteps> mine_;
  Batch batch_;  // that was started
  std::span<const LogitsUse> uses_;
  StepLogits logits_;  // of mine_
  std::vector<std::byte> payload_;
};

LeadingModel::LeadingModel(std::unique_ptr<RankModel> model,
                           std::shared_ptr<parallel::Communicator> ranks,
                           const parallel::MessageKey& key, std::chrono::milliseconds heartbeat,
                           std::function<void(const Error&)> on_lost)
    : model_(std::move(model)),
      on_lost_(std::move(on_lost)),
      ranks_(ranks),
      messages_(std::move(ranks), key),
      last_message_(std::chrono::steady_clock::now()),
      heart_([this, heartbeat] { beat(heartbeat); }) {}

LeadingModel::~LeadingModel() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  heart_.join();
  const std::lock_guard lock(mutex_);
  // Whoever does not hear of it hears nothing at all any more, and goes, too.
  if (!is_lost_) static_cast<void>(messages_.send(static_cast<uint32_t>(RankMessage::stop), {}));
}

Result<void> LeadingModel::send(RankMessage kind, std::span<const std::byte> payload) {
  last_message_ = std::chrono::steady_clock::now();
  return noticed(messages_.send(static_cast<uint32_t>(kind), payload));
}

template <class T>
Result<T> LeadingModel::noticed(Result<T> result) {
  if (!result && !std::exchange(is_lost_, true)) on_lost_(result.error());
  return result;
}

template <class T>
Result<T> LeadingModel::noticed_later(Result<T> result) {
  if (result) return result;
  // A heartbeat may hold the lock and wait for others that wait for this rank's device.
  ranks_->give_up(fmt::format("rank {}: {}", ranks_->rank(), result.error().message));
  const std::lock_guard lock(mutex_);
  return noticed(std::move(result));
}

/// A rank that has ended while nobody asks anything is noticed, and the others know that this one
/// has not.
void LeadingModel::beat(std::chrono::milliseconds heartbeat) {
  std::unique_lock lock(mutex_);
  while (!stopping_ && !is_lost_) {
    const auto due = last_message_ + heartbeat;
    if (std::chrono::steady_clock::now() >= due) {
      static_cast<void>(send(RankMessage::heartbeat, {}));
    } else {
      stop_.wait_until(lock, due);
    }
  }
}

Result<StartedModel> LeadingModel::start(const StepLimits& limits, const KvMemory& memory) {
  if (is_started_)
    return fail(ErrorCode::internal, "steps of this model are being computed by the ranks already");
  const std::lock_guard lock(mutex_);
  TETRAD_TRY(send(RankMessage::start, RankStart{.limits = limits, .memory = memory}.encode()));
  TETRAD_ASSIGN(auto made, noticed(model_->start(limits, memory)));
  // There may be too little memory for what was asked, which is no loss.
  TETRAD_ASSIGN(StartedRank started, std::move(made));
  const RankStepLimits agreed{.vocab_size = config().vocab_size,
                              .max_model_len = limits.max_model_len,
                              .max_num_seqs = limits.max_num_seqs,
                              .max_num_batched_tokens = limits.max_num_batched_tokens,
                              .num_kv_blocks = started.num_kv_blocks};
  messages_.set_max_payload_bytes(agreed.max_bytes());
  return StartedModel{.steps = std::make_unique<Steps>(*this, agreed, std::move(started.steps)),
                      .num_kv_blocks = agreed.num_kv_blocks};
}

}  // namespace tetrad
