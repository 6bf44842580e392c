#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/engine_observer.h"

namespace tetrad {

/// Tells several observers what it is told, in their order.
class ObserverList final : public EngineObserver {
 public:
  explicit ObserverList(std::vector<std::shared_ptr<EngineObserver>> observers)
      : observers_(std::move(observers)) {}

  void on_step(const StepReport& report) override {
    for (const auto& observer : observers_)
      observer->on_step(report);
  }
  void on_first_token(Seconds since_arrival) override {
    for (const auto& observer : observers_)
      observer->on_first_token(since_arrival);
  }
  void on_tokens(Seconds since_last, int64_t count) override {
    for (const auto& observer : observers_)
      observer->on_tokens(since_last, count);
  }
  void on_draft(int64_t num_draft_tokens, int64_t num_accepted) override {
    for (const auto& observer : observers_)
      observer->on_draft(num_draft_tokens, num_accepted);
  }
  void on_blocks_stored(const StoredBlocks& blocks) override {
    for (const auto& observer : observers_)
      observer->on_blocks_stored(blocks);
  }
  void on_block_removed(const PrefixHash& hash) override {
    for (const auto& observer : observers_)
      observer->on_block_removed(hash);
  }
  void on_finish(const RequestReport& report) override {
    for (const auto& observer : observers_)
      observer->on_finish(report);
  }
  void on_queue_full() override {
    for (const auto& observer : observers_)
      observer->on_queue_full();
  }

 private:
  const std::vector<std::shared_ptr<EngineObserver>> observers_;
};

}  // namespace tetrad
