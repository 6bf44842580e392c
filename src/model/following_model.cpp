#include "model/following_model.h"

#include <cstring>
#include <optional>
#include <utility>

#include "model/rank_logits.h"
#include "model/rank_protocol.h"
#include "model/rank_step.h"

namespace tetrad {
namespace {

class Follower {
 public:
  Follower(CpuModel& model, std::shared_ptr<parallel::Communicator> ranks,
           const parallel::MessageKey& key)
      : model_(model),
        ranks_(*ranks),
        messages_(std::move(ranks), key),
        logits_(model.model().ranks(), ranks_, model.config().vocab_size) {}

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
    TETRAD_ASSIGN(const RankStart start,
                  RankStart::decode(payload, model_.config().max_position_embeddings));
    cache_.reset();
    TETRAD_ASSIGN(Result<KvCache> made,
                  make_agreed_cache(model_, ranks_, start.limits, start.memory));
    // Rank 0 has the same error, and its caller may ask for something else.
    if (!made) return {};
    cache_ = std::move(*made);
    limits_ = {.vocab_size = model_.config().vocab_size,
               .max_model_len = start.limits.max_model_len,
               .max_num_seqs = start.limits.max_num_seqs,
               .max_num_batched_tokens = start.limits.max_num_batched_tokens,
               .num_kv_blocks = cache_->num_blocks()};
    messages_.set_max_payload_bytes(limits_.max_bytes());
    return {};
  }

  Result<void> step(std::span<const std::byte> payload) {
    if (!cache_) return fail(ErrorCode::corrupt_data, "rank 0 sends a step before a start");
    TETRAD_TRY(step_.decode(payload, limits_));
    TETRAD_ASSIGN(const Activations part, model_.model().forward_part(step_.batch(), *cache_));
    return logits_.exchange(part, step_.uses());
  }

  Result<void> bring_row(std::span<const std::byte> payload) {
    int64_t row = 0;
    if (payload.size() != sizeof row)
      return fail(ErrorCode::corrupt_data, "a row is asked for in {} bytes", payload.size());
    std::memcpy(&row, payload.data(), sizeof row);
    return logits_.gather_row(row);
  }

  CpuModel& model_;
  parallel::Communicator& ranks_;
  parallel::RankMessages messages_;
  RankLogits logits_;
  RankStepLimits limits_;
  std::optional<KvCache> cache_;
  RankStep step_;
};

}  // namespace

Result<void> follow_rank_0(CpuModel& model, std::shared_ptr<parallel::Communicator> ranks,
                           const parallel::MessageKey& key) {
  return Follower(model, std::move(ranks), key).run();
}

}  // namespace tetrad
