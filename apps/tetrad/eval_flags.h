#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "loaded_model.h"

namespace tetrad {

struct EvalFlags {
  ModelFlags model;
  std::string against;  // "": none
  std::vector<std::string> texts;
  std::string calibrate_kv;
  int64_t window = 1024;
  std::string json;  // a file, "-" for standard output, or "" for none
  std::string html;
};

/// A text and what the tokenizer made of it, which can be evaluated.
struct EvalText {
  std::string path;
  std::vector<TokenId> ids;
};

/// The texts of --text. Errors name the file: not there, not UTF-8, too short, tokens that the
/// vocabulary does not have.
Result<std::vector<EvalText>> encode_texts(const EvalFlags& flags, const Tokenizer& tokenizer,
                                           int64_t vocab_size);

/// Errors: --device names a GPU, or there are many ranks, and `flag` asks for what happens inside a
/// forward pass.
Result<void> check_observable(const ModelFlags& flags, std::string_view flag);

/// With --calibrate-kv: gives `loaded` an FP8 cache with scales measured on that text.
Result<void> calibrate_kv_cache(const EvalFlags& flags, const Tokenizer& tokenizer,
                                LoadedModel& loaded);

/// MODEL as the flags want it, but for the scales of calibrate_kv_cache.
Result<std::unique_ptr<LoadedModel>> load_evaluated_model(const EvalFlags& flags,
                                                          TokenizerNeed need);

/// tetrad eval with --against; the exit status.
int run_eval_against(const EvalFlags& flags);

}  // namespace tetrad
