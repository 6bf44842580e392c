#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/core.h"
#include "model/device_model.h"
#include "model/minimax_m2.h"
#include "text/tokenizer.h"

namespace tetrad::differential {

struct Answer {
  std::vector<TokenId> ids;
  std::string text;
  std::vector<float> logprobs;
  std::optional<FinishReason> finish_reason;
  bool operator==(const Answer&) const = default;
};

struct Counts {
  int64_t steps = 0;
  int64_t preemptions = 0;
  int64_t cached_tokens = 0;
  int64_t draft_tokens = 0;
  int64_t accepted_drafts = 0;
};

struct BenchOptions {
  std::filesystem::path root;  // of the repository
  std::string device = "cpu";  // or gpu, emulated-nvidia, emulated-gfx12
};

/// The bundled model, and the engine's core over it in any size.
class Bench {
 public:
  /// Throws std::runtime_error, where there is no such device.
  explicit Bench(const BenchOptions& options);
  ~Bench();

  /// Greedy and sampled, long and short, with shared beginnings, stop strings, priorities, salts
  /// and every parameter that changes logits.
  std::vector<GenerationRequest> random_requests(int64_t count, uint64_t seed) const;

  /// One after the other, each prompt in one piece, nothing cached, no drafts.
  std::vector<Answer> answers_alone(const std::vector<GenerationRequest>& requests);
  /// All at once.
  std::vector<Answer> answers_together(const std::vector<GenerationRequest>& requests,
                                       const SchedulerOptions& options, Counts& counts);

  /// A prompt whose first n tokens were computed before, for every n; returns how many n there are.
  int64_t check_every_split_point();

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  std::filesystem::path prompts_;
  std::unique_ptr<MiniMaxM2> cpu_model_;  // on the CPU
  std::unique_ptr<DeviceModel> model_;
};

/// Throws std::logic_error with the first difference.
void compare(const char* name, const std::vector<GenerationRequest>& requests,
             const std::vector<Answer>& expected, const std::vector<Answer>& answers);

}  // namespace tetrad::differential
