#include "plan/sharding.h"

#include <algorithm>
#include <cmath>

#include "base/integer_math.h"

namespace tetrad::plan {
namespace {

/// How one dimension of a tensor is cut.
struct Cut {
  int dim = -1;
  int64_t parts = 1;  // different shares; ranks beyond that repeat one
  int64_t unit = 1;   // is never cut
};

/// Heads stay whole, and so do the groups of 16 that share a scale along w2's columns; w1 and w3
/// follow w2.
Cut cut_of(const WeightClass& weight, const ModelConfig& config, Layout layout) {
  const int64_t ranks = layout.tensor_parallel;
  const int64_t group = weight.format == WeightFormat::mxfp4_16 ? kMxfp4GroupSize : 1;
  switch (weight.split) {
    case Split::none:
      break;
    case Split::vocabulary:
      return {.dim = 0, .parts = ranks};
    case Split::heads:
      return {.dim = 0, .parts = ranks, .unit = config.head_dim};
    case Split::kv_heads:
      return {
          .dim = 0, .parts = std::min(ranks, config.num_key_value_heads), .unit = config.head_dim};
    case Split::head_columns:
      return {.dim = 1, .parts = ranks, .unit = config.head_dim};
    case Split::expert_rows:
    case Split::expert_columns:
      if (layout.expert_parallel) break;
      return {.dim = weight.split == Split::expert_rows ? 0 : 1, .parts = ranks, .unit = group};
  }
  return {};
}

/// Of `length` cut into `parts` shares of whole units: the largest.
int64_t largest_share(int64_t length, const Cut& cut) {
  return std::min(length, ceil_div(ceil_div(length, cut.unit), cut.parts) * cut.unit);
}

/// Blocks of 128 that the share which touches most of them touches.
int64_t most_blocks_touched(int64_t length, int64_t share, int64_t parts) {
  int64_t most = 0;
  for (int64_t part = 0; part < parts && part * share < length; ++part) {
    const int64_t begin = part * share;
    const int64_t end = std::min(begin + share, length);
    most = std::max(most, ceil_div(end, kFp8BlockSize) - begin / kFp8BlockSize);
  }
  return most;
}

int64_t shard_bytes(const WeightClass& weight, const Cut& cut, int64_t rows, int64_t cols) {
  if (weight.stored_bytes > 0) {
    const double part = static_cast<double>(rows) * static_cast<double>(cols) /
                        (static_cast<double>(weight.rows) * static_cast<double>(weight.cols));
    return static_cast<int64_t>(std::ceil(part * static_cast<double>(weight.stored_bytes)));
  }
  if (weight.format != WeightFormat::fp8_block) return tensor_bytes(weight.format, rows, cols);
  const int64_t row_blocks = cut.dim == 0 ? most_blocks_touched(weight.rows, rows, cut.parts)
                                          : ceil_div(rows, kFp8BlockSize);
  const int64_t col_blocks = cut.dim == 1 ? most_blocks_touched(weight.cols, cols, cut.parts)
                                          : ceil_div(cols, kFp8BlockSize);
  return rows * cols + row_blocks * col_blocks * int64_t{sizeof(float)};
}

class DivisionCheck {
 public:
  DivisionCheck(const PlannedModel& model, Layout layout)
      : model_(model), config_(model.config), layout_(layout), ranks_(layout.tensor_parallel) {}

  std::vector<Finding> run() {
    check_heads();
    check_vocabulary();
    check_experts();
    for (const WeightClass& weight : model_.weights)
      check_scales(weight);
    return std::move(findings_);
  }

 private:
  template <class... Args>
  void report(Severity severity, fmt::format_string<Args...> format, Args&&... args) {
    findings_.push_back({severity, fmt::format(format, std::forward<Args>(args)...)});
  }

  void check_heads() {
    const int64_t heads = config_.num_attention_heads;
    const int64_t kv_heads = config_.num_key_value_heads;
    if (heads % ranks_ != 0) {
      report(Severity::error, "{} attention heads do not divide over {} ranks", heads, ranks_);
    }
    if (ranks_ > kv_heads && ranks_ % kv_heads == 0) {
      report(Severity::warning,
             "{} KV heads are fewer than {} ranks: each is kept by {} of them, so that a GPU "
             "stores as much of a token as at TP {}",
             kv_heads, ranks_, ranks_ / kv_heads, kv_heads);
    } else if (ranks_ > kv_heads || kv_heads % ranks_ != 0) {
      report(Severity::error, "{} KV heads do not divide over {} ranks, nor the ranks over them",
             kv_heads, ranks_);
    }
  }

  void check_vocabulary() {
    if (config_.vocab_size % ranks_ == 0) return;
    report(Severity::warning,
           "the {} rows of embedding and head do not divide over {} ranks: the last has fewer than "
           "the {} of the others",
           config_.vocab_size, ranks_, ceil_div(config_.vocab_size, ranks_));
  }

  void check_experts() {
    const int64_t experts = config_.num_local_experts;
    const int64_t width = config_.intermediate_size;
    if (layout_.expert_parallel && experts % ranks_ != 0) {
      report(Severity::error, "{} experts do not divide over {} ranks", experts, ranks_);
    }
    if (!layout_.expert_parallel && width % ranks_ != 0) {
      report(Severity::error,
             "experts of width {} do not divide over {} ranks; --enable-expert-parallel leaves "
             "them whole",
             width, ranks_);
    }
  }

  /// Whether a share ends inside what has one scale in common. Shares that differ in size have been
  /// reported already.
  void check_scales(const WeightClass& weight) {
    const Cut cut = cut_of(weight, config_, layout_);
    if (cut.dim < 0) return;
    const int64_t length = cut.dim == 0 ? weight.rows : weight.cols;
    if (length % cut.parts != 0) return;
    const int64_t share = length / cut.parts;
    const std::string_view advice =
        weight.is_expert() ? "; --enable-expert-parallel leaves experts whole" : "";
    if (weight.format == WeightFormat::mxfp4_16 && cut.dim == 1 && share % kMxfp4GroupSize != 0) {
      report(Severity::error,
             "{}: {} columns over {} ranks are {} each, which cuts a group of {} weights with one "
             "scale{}",
             weight.name, length, cut.parts, share, kMxfp4GroupSize, advice);
    }
    if (weight.format == WeightFormat::fp8_block && share % kFp8BlockSize != 0) {
      report(Severity::warning,
             "{}: {} {} over {} ranks are {} each, which cuts an FP8 block of {} with one scale: "
             "ranks must share its scale, and engines that want whole blocks refuse that{}",
             weight.name, length, cut.dim == 0 ? "rows" : "columns", cut.parts, share,
             kFp8BlockSize, advice);
    }
  }

  const PlannedModel& model_;
  const ModelConfig& config_;
  Layout layout_;
  int64_t ranks_;
  std::vector<Finding> findings_;
};

}  // namespace

Shard shard_of(const WeightClass& weight, const ModelConfig& config, Layout layout) {
  const Cut cut = cut_of(weight, config, layout);
  Shard shard{.dim = cut.parts > 1 ? cut.dim : -1,
              .rows = cut.dim == 0 ? largest_share(weight.rows, cut) : weight.rows,
              .cols = cut.dim == 1 ? largest_share(weight.cols, cut) : weight.cols,
              .count = weight.count};
  if (weight.is_expert() && layout.expert_parallel) {
    shard.count = ceil_div(weight.count, layout.tensor_parallel);
  }
  shard.bytes = shard.count * shard_bytes(weight, cut, shard.rows, shard.cols);
  return shard;
}

int64_t heads_per_rank(const ModelConfig& config, Layout layout) {
  return ceil_div(config.num_attention_heads, layout.tensor_parallel);
}

int64_t kv_heads_per_rank(const ModelConfig& config, Layout layout) {
  return ceil_div(config.num_key_value_heads, layout.tensor_parallel);
}

std::vector<Finding> check_division(const PlannedModel& model, Layout layout) {
  return DivisionCheck(model, layout).run();
}

std::vector<int64_t> dividing_sizes(const PlannedModel& model, bool expert_parallel,
                                    int64_t limit) {
  std::vector<int64_t> sizes;
  for (int64_t ranks = 1; ranks <= limit; ++ranks) {
    if (check_division(model, {ranks, expert_parallel}).empty()) sizes.push_back(ranks);
  }
  return sizes;
}

}  // namespace tetrad::plan
