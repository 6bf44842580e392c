#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/in_process.h"

namespace tetrad::parallel {

/// Sockets between ranks that are processes of one machine, forked after this was made: each joins
/// with its number. Rank 0 passes on what the others say, so this is for what is told once in a
/// while, not in every layer.
class ForkedRanks {
 public:
  /// Errors: io, where the system gives no sockets.
  static Result<ForkedRanks> create(int size);
  ForkedRanks(ForkedRanks&& other) noexcept = default;
  ForkedRanks& operator=(ForkedRanks&& other) noexcept = default;
  ~ForkedRanks();

  /// This process's end; the sockets of the others are closed here. A rank whose end is destroyed,
  /// or whose process has ended, has left.
  std::unique_ptr<Communicator> join(int rank,
                                     std::chrono::milliseconds deadline = kDefaultDeadline) &&;

 private:
  ForkedRanks() = default;

  // Of rank r, from 1 on: its end, and that of rank 0.
  std::vector<int> theirs_;
  std::vector<int> of_rank_0_;
};

}  // namespace tetrad::parallel
