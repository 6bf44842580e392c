#pragma once

#include <memory>
#include <stop_token>
#include <thread>

#include "checkpoint/checkpoint.h"

namespace tetrad {

/// Reads a checkpoint into the system's cache in the background, in the order of its files, while
/// the first requests are served already: page faults would read it in small pieces, wherever the
/// router leads. What is cached costs nothing. A checkpoint that does not fit the free memory is
/// left to page faults.
class WeightReader {
 public:
  enum class Use {
    every_step,  // computed with where they are: said in the log if they do not fit
    once,        // copied to a GPU
  };
  WeightReader(std::shared_ptr<const Checkpoint> checkpoint, Use use);

 private:
  std::jthread thread_;  // ends early when this goes
};

}  // namespace tetrad
