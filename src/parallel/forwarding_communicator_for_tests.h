#pragma once

#include <memory>
#include <string>
#include <utility>

#include "parallel/communicator.h"

namespace tetrad::parallel {

/// Hands all calls to another communicator: what a test does otherwise it overrides.
class ForwardingCommunicator : public Communicator {
 public:
  explicit ForwardingCommunicator(std::shared_ptr<Communicator> ranks)
      : ranks_(std::move(ranks)), rank_(ranks_->rank()), size_(ranks_->size()) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string_view name() const override { return "forwarding"; }
  Result<void> all_reduce_sum(std::span<float> values) override {
    return ranks_ == nullptr ? gone() : ranks_->all_reduce_sum(values);
  }
  Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    return ranks_ == nullptr ? gone() : ranks_->all_gather(mine, all);
  }
  Result<void> broadcast(std::span<std::byte> bytes, int root) override {
    return ranks_ == nullptr ? gone() : ranks_->broadcast(bytes, root);
  }
  Result<void> barrier() override { return ranks_ == nullptr ? gone() : ranks_->barrier(); }
  void set_deadline(std::chrono::milliseconds deadline) override {
    if (ranks_ != nullptr) ranks_->set_deadline(deadline);
  }
  void give_up(std::string reason) override {
    if (ranks_ != nullptr) ranks_->give_up(std::move(reason));
  }
  /// The other ranks see from here on that this one has left.
  void leave() override { ranks_ = nullptr; }
  void when_broken(std::function<void()> call) override {
    if (ranks_ != nullptr) ranks_->when_broken(std::move(call));
  }
  bool wait_for_parting() override { return ranks_ == nullptr || ranks_->wait_for_parting(); }

 private:
  static Result<void> gone() { return fail(ErrorCode::cancelled, "this rank has had enough"); }

  std::shared_ptr<Communicator> ranks_;
  int rank_;
  int size_;
};

}  // namespace tetrad::parallel
