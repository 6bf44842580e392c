#pragma once

// For tests only: an engine that computes the model that comes with the repository.

#include <memory>
#include <utility>

#include "base/thread_pool.h"
#include "engine/bundled_model.h"
#include "engine/engine.h"
#include "kernels/kernels.h"
#include "model/cpu_model.h"
#include "model/minimax_m2.h"

namespace tetrad {

class BundledEngine {
 public:
  explicit BundledEngine(EngineOptions options)
      : model_(MiniMaxM2::load(
                   std::make_shared<const Checkpoint>(Checkpoint::open(bundled_model()).value()),
                   make_cpu_kernels(std::make_shared<ThreadPool>(1), "auto").value())
                   .value()),
        on_cpu_(*model_, {}),
        engine_(Engine::start(on_cpu_, bundled_tokenizer(), std::move(options)).value()) {}

  Engine& engine() { return *engine_; }

 private:
  std::unique_ptr<MiniMaxM2> model_;
  CpuModel on_cpu_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace tetrad
