#include "model/following_model.h"

#include <cstring>
#include <utility>

#include "model/rank_protocol.h"
#include "model/rank_step.h"

namespace tetrad {
namespace {

class Follower {
 public:
  Follower(RankModel& model, std::shared_ptr<parallel::Communicator> ranks,
           const parallel::MessageKey& key)
      : model_(model), messages_(std::move(ranks), key) {}

  Result<void> run() {
    while (true) {
      TETRAD_ASSIGN(const auto message, messages_.receive());
      switch (static_cast<RankMessage>(message.kind)) {
        case RankMessage::heartbeat:
          break;
        case RankMessage::start:
          TETRAD_TRY(start(message.payload));
          break;
        case RankMessage::step:
          TETRAD_TRY(step(message.payload));
          break;
        case RankMessage::row:
          TETRAD_TRY(bring_row(message.payload));
          break;
        case RankMessage::stop:
          return {};
        default:
          return fail(ErrorCode::corrupt_data, "a message of rank 0's has the unknown kind {}",
                      message.kind);
      }
    }
  }

 private:
  Result<void> start(std::span<const std::byte> payload) {
    const ModelConfig& config = model_.device_model().config();
    TETRAD_ASSIGN(const RankStart start,
                  RankStart::decode(payload, config.max_position_embeddings));
    logits_ = {};
    steps_.reset();
    TETRAD_ASSIGN(Result<StartedRank> made, model_.start(start.limits, start.memory));
    // Rank 0 has the same error, and its caller may ask for something else.
    if (!made) return {};
    steps_ = std::move(made->steps);
    limits_ = {.vocab_size = config.vocab_size,
               .max_model_len = start.limits.max_model_len,
               .max_num_seqs = start.limits.max_num_seqs,
               .max_num_batched_tokens = start.limits.max_num_batched_tokens,
               .num_kv_blocks = made->num_kv_blocks};
    messages_.set_max_payload_bytes(limits_.max_bytes());
    return {};
  }

  Result<void> step(std::span<const std::byte> payload) {
    if (!steps_) return fail(ErrorCode::corrupt_data, "rank 0 sends a step before a start");
    TETRAD_TRY(step_.decode(payload, limits_));
    TETRAD_TRY(steps_->start(step_.batch(), step_.uses()));
    TETRAD_ASSIGN(logits_, steps_->finish());
    return {};
  }

  Result<void> bring_row(std::span<const std::byte> payload) {
    int64_t row = 0;
    if (payload.size() != sizeof row)
      return fail(ErrorCode::corrupt_data, "a row is asked for in {} bytes", payload.size());
    std::memcpy(&row, payload.data(), sizeof row);
    if (row < 0 || row >= logits_.num_rows() || steps_->has_row(row))
      return fail(ErrorCode::corrupt_data, "row {} of {} is asked for", row, logits_.num_rows());
    TETRAD_TRY(logits_.row(row));
    return {};
  }

  RankModel& model_;
  parallel::RankMessages messages_;
  RankStepLimits limits_;
  std::unique_ptr<RankSteps> steps_;
  RankStep step_;
  StepLogits logits_;  // of the last step
};

}  // namespace

Result<void> follow_rank_0(RankModel& model, const std::shared_ptr<parallel::Communicator>& ranks,
                           const parallel::MessageKey& key) {
  auto followed = Follower(model, ranks, key).run();
  // Before this rank's memory goes, for which the others' devices must have stopped.
  if (!followed) ranks->leave();
  return followed;
}

}  // namespace tetrad
