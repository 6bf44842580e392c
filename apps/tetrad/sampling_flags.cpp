#include "sampling_flags.h"

#include <algorithm>

#include "number_flag.h"

namespace tetrad {

SamplingParams SamplingFlags::resolve(const GenerationDefaults& defaults) const {
  SamplingParams params;
  params.temperature = temperature.value_or(static_cast<float>(defaults.temperature.value_or(1.0)));
  params.top_k = std::max<int64_t>(0, top_k.value_or(defaults.top_k.value_or(0)));
  params.top_p = top_p.value_or(static_cast<float>(defaults.top_p.value_or(1.0)));
  params.min_p = min_p.value_or(static_cast<float>(defaults.min_p.value_or(0.0)));
  if (seed && *seed != -1) params.seed = static_cast<uint64_t>(*seed);
  params.repetition_penalty = static_cast<float>(defaults.repetition_penalty.value_or(1.0));
  params.max_tokens = max_tokens.value_or(defaults.max_new_tokens.value_or(0));
  params.stop = stop;
  return params;
}

void add_sampling_flags(CLI::App& verb, SamplingFlags& flags) {
  verb.add_option("--temperature", flags.temperature, "0: always the likeliest token")
      ->transform(as_number({.from = 0, .to = 100}));
  verb.add_option("--top-k", flags.top_k, "sample among the k likeliest; 0 or -1: off")
      ->transform(as_whole_number({.from = -1}));
  verb.add_option("--top-p", flags.top_p, "sample among the likeliest that hold this probability")
      ->transform(as_number({.above = 0, .to = 1}));
  verb.add_option("--min-p", flags.min_p, "drop tokens below this share of the best's probability")
      ->transform(as_number({.from = 0, .to = 1}));
  verb.add_option("--seed", flags.seed, "the same seed gives the same answer; -1: a random one")
      ->transform(as_whole_number({.from = -1}));
  verb.add_option("--max-tokens", flags.max_tokens, "longest answer; 0: what the context allows")
      ->transform(as_whole_number({.from = 0}));
  verb.add_option("--stop", flags.stop, "end the answer before this text; may be repeated")
      ->check([](const std::string& text) {
        return text.empty() ? "the text must not be empty" : std::string();
      });
}

}  // namespace tetrad
