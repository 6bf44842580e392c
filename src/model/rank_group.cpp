#include "model/rank_group.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/integer_math.h"
#include "model/top_tokens.h"

namespace tetrad {
namespace {

double sum_of_squares(std::span<const float> row) {
  double sum = 0;
  for (const float value : row)
    sum += static_cast<double>(value) * value;
  return sum;
}

/// The norm of a part of a vector of `size` elements whose squares add up to `squares`.
void scale_part(std::span<float> part, std::span<const float> weight, float squares, int64_t size,
                float eps) {
  const double scale =
      1.0 / std::sqrt(static_cast<double>(squares) / static_cast<double>(size) + eps);
  for (size_t i = 0; i < part.size(); ++i)
    part[i] = static_cast<float>(weight[i] * (part[i] * scale));
}

}  // namespace

RankGroup::RankGroup(const ModelConfig& config)
    : RankGroup(config, plan::rank_share(config, {}, 0), nullptr) {}

RankGroup::RankGroup(const ModelConfig& config, const plan::RankShare& share,
                     std::shared_ptr<parallel::Communicator> ranks)
    : ranks_(std::move(ranks)),
      share_(share),
      q_size_(config.q_size()),
      kv_size_(config.kv_size()),
      vocab_size_(config.vocab_size) {}

Result<RankGroup> RankGroup::join(const ModelConfig& config, plan::Layout layout,
                                  std::shared_ptr<parallel::Communicator> ranks) {
  if (ranks->size() != layout.tensor_parallel) {
    return fail_param("--tensor-parallel-size",
                      "--tensor-parallel-size {}: there are {} ranks to share the model",
                      layout.tensor_parallel, ranks->size());
  }
  if (ranks->size() == 1) return RankGroup(config);
  const plan::RankShare share = plan::rank_share(config, layout, ranks->rank());
  return RankGroup(config, share, std::move(ranks));
}

Result<void> RankGroup::sum(Activations x) {
  if (is_alone()) return {};
  return ranks_->all_reduce_sum({x.data, static_cast<size_t>(x.rows * x.cols)});
}

Result<void> RankGroup::embed(Kernels& ops, const WeightMatrix& table,
                              std::span<const int32_t> token_ids, Activations out) {
  if (is_alone()) {
    ops.embed(table, token_ids, out);
    return {};
  }
  // A token's embedding is on one rank; the others add zeros to it, which changes no bit.
  const plan::Range here = share_.vocabulary;
  local_ids_.assign(token_ids.size(), 0);
  for (size_t i = 0; i < token_ids.size(); ++i) {
    if (here.contains(token_ids[i]))
      local_ids_[i] = token_ids[i] - static_cast<int32_t>(here.begin);
  }
  if (here.size() > 0) ops.embed(table, local_ids_, out);
  for (int64_t t = 0; t < out.rows; ++t) {
    if (!here.contains(token_ids[static_cast<size_t>(t)])) std::ranges::fill(out.row_span(t), 0.0f);
  }
  return sum(out);
}

Result<void> RankGroup::qk_norm(Kernels& ops, Activations q, std::span<const float> q_norm,
                                Activations k, std::span<const float> k_norm, float eps) {
  if (is_alone()) {
    ops.rms_norm(q, q_norm, eps, q);
    ops.rms_norm(k, k_norm, eps, k);
    return {};
  }
  // Both in one message. A KV head that several ranks have counts on the first of them.
  squares_.resize(static_cast<size_t>(2 * q.rows));
  for (int64_t t = 0; t < q.rows; ++t) {
    const double of_k = share_.counts_kv_heads ? sum_of_squares(k.row_span(t)) : 0;
    squares_[static_cast<size_t>(2 * t)] = static_cast<float>(sum_of_squares(q.row_span(t)));
    squares_[static_cast<size_t>(2 * t + 1)] = static_cast<float>(of_k);
  }
  TETRAD_TRY(ranks_->all_reduce_sum(squares_));
  for (int64_t t = 0; t < q.rows; ++t) {
    scale_part(q.row_span(t), q_norm, squares_[static_cast<size_t>(2 * t)], q_size_, eps);
    scale_part(k.row_span(t), k_norm, squares_[static_cast<size_t>(2 * t + 1)], kv_size_, eps);
  }
  return {};
}

void RankGroup::experts(Kernels& ops, Activations x, const ExpertWeights& weights,
                        const Routing& routing, Activations out) {
  // Those that are cut are all here, and the operation adds up their parts.
  if (is_alone() || !share_.layout.expert_parallel) {
    ops.experts(x, weights, routing, out);
  } else {
    local_experts_.run(ops, x, weights, share_.experts, routing, out);
  }
}

Result<Activations> RankGroup::gather_logits(Activations part) {
  if (is_alone()) return part;
  // All ranks bring as much, though the last may have fewer tokens.
  const int64_t width = ceil_div(vocab_size_, share_.layout.tensor_parallel);
  const auto size = static_cast<size_t>(part.rows * width);
  sent_.resize(size);
  for (int64_t row = 0; row < part.rows; ++row)
    std::copy_n(part.row(row), part.cols, sent_.data() + row * width);
  received_.resize(size * static_cast<size_t>(ranks_->size()));
  TETRAD_TRY(parallel::all_gather_values<float>(*ranks_, sent_, received_));
  logits_.resize(static_cast<size_t>(part.rows * vocab_size_));
  const Activations logits{logits_.data(), part.rows, vocab_size_};
  for (int64_t begin = 0; begin < vocab_size_; begin += width) {
    const float* from = received_.data() + begin * part.rows;
    for (int64_t row = 0; row < part.rows; ++row)
      std::copy_n(from + row * width, std::min(width, vocab_size_ - begin),
                  logits.row(row) + begin);
  }
  return logits;
}

Result<std::span<const LikelyToken>> RankGroup::gather_top(Activations part, int64_t count) {
  const auto wanted = static_cast<size_t>(std::min(count, vocab_size_));
  const auto rows = static_cast<size_t>(part.rows);
  // Of a rank with fewer tokens: some behind all others.
  constexpr LikelyToken kNoToken{.logit = -std::numeric_limits<float>::infinity(),
                                 .id = std::numeric_limits<uint32_t>::max()};
  sent_tokens_.assign(rows * wanted, kNoToken);
  for (size_t row = 0; row < rows; ++row) {
    find_top_tokens(part.row_span(static_cast<int64_t>(row)), share_.vocabulary.begin,
                    std::span(sent_tokens_).subspan(row * wanted, wanted));
  }
  if (is_alone()) return sent_tokens_;
  const auto size = static_cast<size_t>(ranks_->size());
  received_tokens_.resize(sent_tokens_.size() * size);
  TETRAD_TRY(parallel::all_gather_values<LikelyToken>(*ranks_, sent_tokens_, received_tokens_));
  top_.clear();
  std::vector<LikelyToken> of_row;
  for (size_t row = 0; row < rows; ++row) {
    of_row.clear();
    for (size_t rank = 0; rank < size; ++rank) {
      const auto from =
          received_tokens_.begin() + static_cast<std::ptrdiff_t>((rank * rows + row) * wanted);
      of_row.insert(of_row.end(), from, from + static_cast<std::ptrdiff_t>(wanted));
    }
    const auto end = of_row.begin() + static_cast<std::ptrdiff_t>(wanted);
    std::partial_sort(of_row.begin(), end, of_row.end(), is_likelier);
    top_.insert(top_.end(), of_row.begin(), end);
  }
  return top_;
}

}  // namespace tetrad
