#pragma once

// A model whose weights are shared between the ranks of a session.

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/error.h"
#include "loaded_model.h"
#include "parallel/communicator.h"
#include "rank_session.h"

namespace tetrad {

/// The ranks of this process but the first.
class RankThreads {
 public:
  /// Each end is a rank's, who leaves when `run` returns.
  RankThreads(std::vector<std::unique_ptr<parallel::Communicator>> ends,
              const std::function<void(std::shared_ptr<parallel::Communicator>)>& run);
  /// Waits for them: rank 0 must have let them go, or have left.
  ~RankThreads();
  RankThreads(const RankThreads&) = delete;
  RankThreads& operator=(const RankThreads&) = delete;

 private:
  std::vector<std::thread> threads_;
};

/// Rank 0's share, and `loaded.model` that computes by all of them; starts the others where they
/// are threads. Errors name the flag or the rank at fault.
Result<void> load_by_ranks(const ModelFlags& flags, RankSession& session, LoadedModel& loaded);

/// Another process's share, and what rank 0 wants of it until it lets it go.
Result<void> follow_as_process(const ModelFlags& flags, RankSession& session);

}  // namespace tetrad
