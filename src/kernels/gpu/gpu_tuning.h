#pragma once

// The choices of sizes that are best on one card and not on another. None changes a result's bits:
// sums are cut at fixed places (packed_matrix.h), whoever computes them.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace tetrad::gpu {

struct GpuTuning {
  /// Blocks a multiprocessor of the kernels that go over their work in turn: the products of few
  /// tokens, the experts' w1 and w3, and their w2. The experts' not where their weights come by
  /// themselves (experts_of_one.h, experts_stream.h).
  uint32_t product_blocks = 2;
  uint32_t experts_up_blocks = 2;
  uint32_t experts_down_blocks = 2;
  /// The same of decode's attention: as many as are at work together, each with some of a
  /// sequence's groups of 512 keys. For long contexts alone, which `tetrad tune` does not try.
  uint32_t attend_blocks = 1;
  /// Tiles of 16 rows that a warp of these kernels takes before its block meets, at most.
  uint32_t max_job_tiles = 4;
  /// Tokens up to which a product streams its weights through registers; a GEMM from there on. A
  /// fragment's (8, on gfx12 16) at most, whatever this says.
  uint32_t max_product_tokens = 16;
  /// From how many of these tokens on blocks take one segment of the columns each instead, where
  /// all such blocks are at work at once (segment_product.h); of one token o alone. 17: never.
  uint32_t segment_product_tokens = 17;
  /// Pairs of a token and an expert, for each expert, up to which the experts' products do the same
  /// and take a fragment's tokens in turn.
  uint32_t decode_experts_pairs = 2;
  /// The same where experts' weights come by themselves (experts_stream.h).
  uint32_t streamed_experts_pairs = 8;
  /// Tokens up to which a GEMM takes blocks of 32 tokens, two to a multiprocessor.
  uint32_t small_gemm_tokens = 128;
  /// What a GEMM's block takes beside the time for its tokens, in tokens: its tiles of tokens are
  /// those with which all blocks, as many at a time as there is room for, take least.
  uint32_t gemm_block_tokens = 24;
  /// Pairs of a token and an expert, for each expert, up to which the experts' GEMM takes blocks of
  /// 32 tokens, and up to which it takes tiles of at most 64: the latter not where blocks of codes
  /// are fed (gemm_fed.h), which have loops for more numbers of tokens.
  uint32_t small_experts_gemm_pairs = 24;
  uint32_t narrow_experts_gemm_pairs = 64;

  /// Whether experts' weights are streamed for so many tokens, of whom each goes to some experts.
  /// A few tokens always do: their experts are chosen by the kernels that stream these, and by
  /// nobody else. `by_themselves`: experts_stream.h has them.
  bool streams_experts(uint64_t num_tokens, uint64_t num_experts_per_tok, uint64_t num_experts,
                       bool by_themselves) const;

  bool operator==(const GpuTuning&) const = default;
};

/// A choice by its name in files, with the values that it may have.
struct GpuTuningField {
  std::string_view name;
  uint32_t GpuTuning::* member;
  uint32_t least;
  uint32_t most;
};
std::span<const GpuTuningField> gpu_tuning_fields();

/// How long one step took, in microseconds: with the values that a GpuTuning has of itself, and
/// with those of the file.
struct TunedStep {
  std::string name;  // "decode 8", "prefill 512"
  double us_before = 0;
  double us_after = 0;
};

/// What `tetrad tune` writes: JSON like those in tuning/.
struct GpuTuningFile {
  std::string card;     // DeviceInfo::name, or its beginning
  std::string driver;   // that it was measured with
  std::string program;  // likewise: the version of tetrad
  bool tested = false;  // false: nobody has measured these choices on the card
  GpuTuning choices;    // those that a file does not name have the values of GpuTuning
  std::vector<TunedStep> steps;

  /// Errors: corrupt_data, naming the field: unknown, of another kind or out of its range.
  static Result<GpuTuningFile> parse(std::string_view text);
  json::object to_json() const;
};

/// Errors: not_found, io, and those of parse(), with the path.
Result<GpuTuningFile> read_gpu_tuning(const std::string& path);

/// The files that this build carries.
std::span<const std::string_view> shipped_gpu_tunings();

/// The choices of the shipped file whose `card` is the longest that `card_name` begins with, or
/// those of GpuTuning.
Result<GpuTuning> gpu_tuning_of(std::string_view card_name);

}  // namespace tetrad::gpu
