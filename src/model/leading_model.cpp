#include "model/leading_model.h"

#include <utility>

#include "model/rank_logits.h"
#include "model/rank_step.h"

namespace tetrad {
/// The engine's end of the ranks.
class LeadingModel::Steps final : public StepModel, public LogitsSource {
 public:
  Steps(LeadingModel& owner, const RankStepLimits& limits, KvCache cache)
      : owner_(owner),
        limits_(limits),
        cache_(std::move(cache)),
        logits_(owner.model_.model().ranks(), *owner.ranks_, owner.config().vocab_size) {
    owner_.is_started_ = true;
  }
  ~Steps() override { owner_.is_started_ = false; }
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;

  Result<Activations> forward(const Batch& batch) override {
    TETRAD_TRY(compute(batch, {}));
    return logits_.all_rows();
  }
  Result<void> start(const Batch& batch, std::span<const LogitsUse> uses) override {
    batch_ = batch;
    uses_ = uses;
    return {};
  }
  Result<StepLogits> finish() override {
    TETRAD_TRY(compute(batch_, uses_));
    return StepLogits(*this, logits_.num_rows());
  }

  std::optional<RowSummary> summary(int64_t row) const override {
    if (logits_.is_here(row)) return std::nullopt;
    return logits_.summary(row);
  }
  Result<std::span<const float>> row(int64_t row) override {
    if (!logits_.is_here(row)) {
      const std::lock_guard lock(owner_.mutex_);
      TETRAD_TRY(owner_.send(RankMessage::row, std::as_bytes(std::span(&row, 1))));
      TETRAD_TRY(owner_.noticed(logits_.gather_row(row)));
    }
    return logits_.row(row);
  }

 private:
  Result<void> compute(const Batch& batch, std::span<const LogitsUse> uses) {
    TETRAD_TRY(encode_step(batch, uses, limits_, payload_));
    const std::lock_guard lock(owner_.mutex_);
    TETRAD_TRY(owner_.send(RankMessage::step, payload_));
    TETRAD_ASSIGN(const Activations part,
                  owner_.noticed(owner_.model_.model().forward_part(batch, cache_)));
    return owner_.noticed(logits_.exchange(part, uses));
  }

  LeadingModel& owner_;
  RankStepLimits limits_;
  KvCache cache_;
  RankLogits logits_;
  Batch batch_;  // that was started
  std::span<const LogitsUse> uses_;
  std::vector<std::byte> payload_;
};

LeadingModel::LeadingModel(CpuModel model, std::shared_ptr<parallel::Communicator> ranks,
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
  TETRAD_ASSIGN(auto made, noticed(make_agreed_cache(model_, *ranks_, limits, memory)));
  // There may be too little memory for what was asked, which is no loss.
  TETRAD_ASSIGN(KvCache cache, std::move(made));
  const RankStepLimits agreed{.vocab_size = config().vocab_size,
                              .max_model_len = limits.max_model_len,
                              .max_num_seqs = limits.max_num_seqs,
                              .max_num_batched_tokens = limits.max_num_batched_tokens,
                              .num_kv_blocks = cache.num_blocks()};
  messages_.set_max_payload_bytes(agreed.max_bytes());
  return StartedModel{.steps = std::make_unique<Steps>(*this, agreed, std::move(cache)),
                      .num_kv_blocks = agreed.num_kv_blocks};
}

}  // namespace tetrad
