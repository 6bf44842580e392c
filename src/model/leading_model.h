#pragma once

// Rank 0 of many: who brings it tokens sees one model; the others compute what it tells them.

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "model/device_model.h"
#include "model/rank_model.h"
#include "model/rank_protocol.h"
#include "parallel/rank_messages.h"

namespace tetrad {

class LeadingModel final : public DeviceModel {
 public:
  /// The others must be in follow_rank_0(). on_lost: called once, on any thread, when one of them
  /// does not come any more; every later step fails. heartbeat: how long they hear nothing at most.
  /// A GPU's step must be shorter than the deadline of `ranks`, within which all hear of it.
  LeadingModel(std::unique_ptr<RankModel> model, std::shared_ptr<parallel::Communicator> ranks,
               const parallel::MessageKey& key, std::chrono::milliseconds heartbeat,
               std::function<void(const Error&)> on_lost);
  /// Lets the others go.
  ~LeadingModel() override;
  LeadingModel(const LeadingModel&) = delete;
  LeadingModel& operator=(const LeadingModel&) = delete;

  const ModelConfig& config() const override { return model().config(); }
  const std::string& device() const override { return model().device(); }
  const std::string& kernels() const override { return model().kernels(); }
  DType kv_dtype() const override { return model().kv_dtype(); }
  /// Of this rank; the others' are as large.
  int64_t kv_block_bytes() const override { return model().kv_block_bytes(); }
  /// KvMemory is each rank's. One at a time.
  Result<StartedModel> start(const StepLimits& limits, const KvMemory& memory) override;

 private:
  class Steps;

  const DeviceModel& model() const { return model_->device_model(); }

  /// With mutex_ held.
  Result<void> send(RankMessage kind, std::span<const std::byte> payload);
  /// Hands `result` on; its error counts as the loss of a rank. With mutex_ held.
  template <class T>
  Result<T> noticed(Result<T> result);
  /// The same of what was done without it.
  template <class T>
  Result<T> noticed_later(Result<T> result);
  void beat(std::chrono::milliseconds heartbeat);

  std::unique_ptr<RankModel> model_;
  std::function<void(const Error&)> on_lost_;
  std::shared_ptr<parallel::Communicator> ranks_;
  bool is_started_ = false;

  std::mutex mutex_;  // of what follows: who talks to the other ranks
  parallel::RankMessages messages_;
  std::chrono::steady_clock::time_point last_message_;
  bool is_lost_ = false;
  bool stopping_ = false;
  std::condition_variable stop_;

  std::thread heart_;  // last: it runs on all of the above
};

}  // namespace tetrad
