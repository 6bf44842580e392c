#include "quant/perplexity.h"

#include <algorithm>
#include <cmath>

#include "model/sequence_runner.h"
#include "quant/compare_distributions.h"

namespace tetrad {
namespace {

/// Tokens whose logits are in memory at once: 128 rows of a vocabulary of 200,064 are 100 MB.
constexpr int64_t kChunk = 128;

}  // namespace

double Perplexity::perplexity() const {
  return std::exp(mean_nll);
}

Result<void> check_evaluated_ids(std::span<const int32_t> ids, int64_t vocab_size) {
  if (ids.size() < 2) return fail(ErrorCode::invalid_argument, "the text has fewer than 2 tokens");
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return fail(ErrorCode::invalid_argument,
                  "token {} of the text has the id {}, which the model's vocabulary of {} does not "
                  "have",
                  i, ids[i], vocab_size);
    }
  }
  return {};
}

Result<Perplexity> evaluate_perplexity(DeviceModel& model, std::span<const int32_t> ids,
                                       int64_t window) {
  if (window < 2 || window > model.config().max_position_embeddings) {
    return fail_param("--window", "the window must be between 2 and the model's {} positions",
                      model.config().max_position_embeddings);
  }
  TETRAD_TRY(check_evaluated_ids(ids, model.config().vocab_size));
  const auto total = static_cast<int64_t>(ids.size());
  TETRAD_ASSIGN(SequenceRunner runner, SequenceRunner::create(model, window));

  Perplexity result;
  double sum = 0;
  for (int64_t start = 0; start < total; start += window) {
    const int64_t end = std::min(total, start + window);
    runner.reset();
    for (int64_t begin = start; begin + 1 < end; begin += kChunk) {
      // The window's last token has nothing to predict.
      const int64_t count = std::min(kChunk, end - 1 - begin);
      TETRAD_ASSIGN(const Activations logits, runner.append(ids.subspan(static_cast<size_t>(begin),
                                                                        static_cast<size_t>(count)),
                                                            SequenceRunner::Logits::every_token));
      for (int64_t i = 0; i < count; ++i) {
        const auto target = static_cast<size_t>(ids[static_cast<size_t>(begin + i + 1)]);
        sum += log_sum_exp(logits.row_span(i)) - logits.row_span(i)[target];
      }
      result.num_tokens += count;
    }
  }
  result.mean_nll = sum / static_cast<double>(result.num_tokens);
  return result;
}

}  // namespace tetrad
