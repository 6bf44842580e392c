#include "loaded_model.h"

#include <utility>

#include "base/json.h"
#include "base/mapped_file.h"
#include "kernels/kernels.h"

namespace tetrad {
namespace {

Result<std::shared_ptr<Kernels>> make_kernels(const ModelFlags& flags) {
  if (flags.kernels == "reference") return std::shared_ptr<Kernels>(make_reference_kernels());
  TETRAD_ASSIGN(std::unique_ptr<Kernels> kernels,
                make_cpu_kernels(std::make_shared<ThreadPool>(flags.threads), flags.kernels));
  return std::shared_ptr<Kernels>(std::move(kernels));
}

/// The tokenizer's eos_token, for checkpoints whose generation_config.json names no end token.
Result<std::vector<TokenId>> eos_of_tokenizer(const std::filesystem::path& folder,
                                              const Tokenizer& tokenizer) {
  const auto path = folder / "tokenizer_config.json";
  TETRAD_ASSIGN(const std::string text, read_text_file(path));
  auto parsed = parse_json(text);
  if (!parsed) return tl::unexpected(std::move(parsed.error()).in(path.string()));
  const json::object* config = parsed->if_object();
  const json::value* eos = config != nullptr ? config->if_contains("eos_token") : nullptr;
  // Either the text itself or an AddedToken object that holds it as "content".
  if (eos != nullptr && eos->is_object()) eos = eos->get_object().if_contains("content");
  if (eos == nullptr || !eos->is_string()) {
    return fail(
        ErrorCode::corrupt_data,
        "{} has no \"eos_token\" and generation_config.json no \"eos_token_id\": the end of an "
        "answer cannot be known",
        path.string());
  }
  const auto id = tokenizer.find_added_token(std::string_view(eos->get_string()));
  if (!id) {
    return fail(ErrorCode::corrupt_data,
                "{}: the eos_token \"{}\" is not a token of tokenizer.json", path.string(),
                std::string_view(eos->get_string()));
  }
  return std::vector<TokenId>{*id};
}

}  // namespace

void add_model_flags(CLI::App& verb, ModelFlags& flags) {
  verb.add_option("MODEL", flags.model, "folder of a MiniMax-M2 checkpoint")->required();
  verb.add_option("--kernels", flags.kernels,
                  "auto, avx512, avx2, generic, or reference (scalar, slow, the definition)")
      ->check(CLI::IsMember({"auto", "avx512", "avx2", "generic", "reference"}));
  verb.add_option(
          "--dtype", flags.dtype,
          "auto or bfloat16: keys and values are kept in BF16; float32: nothing is rounded. "
          "Weights stay packed and sums are float32 in both")
      ->check(CLI::IsMember({"auto", "bfloat16", "float32"}));
  verb.add_option("--threads", flags.threads, "compute threads; 0: one for each processor")
      ->check(CLI::Range(0, 1024));
}

Result<std::unique_ptr<LoadedModel>> load_model(const ModelFlags& flags) {
  auto loaded = std::make_unique<LoadedModel>();
  loaded->folder = flags.model;
  TETRAD_ASSIGN(Checkpoint checkpoint, Checkpoint::open(loaded->folder));
  loaded->checkpoint = std::make_shared<const Checkpoint>(std::move(checkpoint));
  TETRAD_ASSIGN(Tokenizer tokenizer, Tokenizer::from_file(loaded->folder / "tokenizer.json"));
  loaded->tokenizer = std::make_unique<Tokenizer>(std::move(tokenizer));
  TETRAD_ASSIGN(std::shared_ptr<Kernels> kernels, make_kernels(flags));
  TETRAD_ASSIGN(loaded->model, MiniMaxM2::load(loaded->checkpoint, std::move(kernels)));
  loaded->kv_cache_dtype = flags.dtype == "float32" ? DType::f32 : DType::bf16;
  loaded->eos_token_ids = loaded->checkpoint->generation_defaults().eos_token_ids;
  if (loaded->eos_token_ids.empty()) {
    TETRAD_ASSIGN(loaded->eos_token_ids, eos_of_tokenizer(loaded->folder, *loaded->tokenizer));
  }
  return loaded;
}

EngineOptions engine_options(const LoadedModel& loaded) {
  EngineOptions options;
  options.kv_cache_dtype = loaded.kv_cache_dtype;
  options.eos_token_ids = loaded.eos_token_ids;
  return options;
}

}  // namespace tetrad
