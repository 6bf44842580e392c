#pragma once

#include <cstdint>

namespace tetrad {

/// Logits of a block, which is what the loops below look at as one.
inline constexpr int64_t kVocabularyBlock = 64;

/// Passes over the logits of a whole vocabulary. The last block may be shorter than the others.
struct VocabularyScan {
  const char* isa = nullptr;
  /// The largest logit of each block into `maxima`, [ceil(n / 64)]; of a block with a NaN anything.
  /// True if all logits are finite. A pass of 200,064 logits takes as long as reading them.
  bool (*block_maxima)(const float* logits, int64_t n, float* maxima) = nullptr;
  /// exp((logits[i] - shift) * scale), where that exponent is 0 or less, into `out`. The relative
  /// error beside exp of the exponent as it is rounded is below 2^-51; from exponents below -700
  /// comes what is at most 1e-304, and not 0. Minus infinity counts as such an exponent.
  void (*exps)(const float* logits, int64_t n, double shift, double scale, double* out) = nullptr;
  /// The sum of these for each block into `sums`, [ceil(n / 64)], added in some order.
  void (*block_exp_sums)(const float* logits, int64_t n, double shift, double scale,
                         double* sums) = nullptr;
  /// How many are larger than `bound`.
  int64_t (*count_above)(const float* logits, int64_t n, float bound) = nullptr;
  /// Those whose bit is 0 become `value`: bit i of word w is that of logit 64 w + i.
  void (*fill_unset)(float* logits, int64_t n, const uint64_t* words, float value) = nullptr;
};

/// Null where the compiler's target is another architecture.
const VocabularyScan* vocabulary_scan_avx512();
const VocabularyScan* vocabulary_scan_avx2();
const VocabularyScan* vocabulary_scan_generic();

/// Those that this machine can run, the fastest first, with a null pointer behind the last.
const VocabularyScan* const* available_vocabulary_scans();
/// The fastest.
const VocabularyScan& vocabulary_scan();

}  // namespace tetrad
