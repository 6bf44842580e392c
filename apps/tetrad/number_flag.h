#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>

namespace tetrad {

/// What a number may be; a bound that is not set does not bind.
template <class Number>
struct Bounds {
  std::optional<Number> above = std::nullopt;  // excluded itself
  std::optional<Number> from = std::nullopt;
  std::optional<Number> to = std::nullopt;
  std::optional<Number> below = std::nullopt;  // excluded itself
};

// Transforms for ->transform(…). Unlike CLI11's own conversion they refuse what does not fit 64
// bits, a minus before an unsigned number and octal, and say the bounds: "must be a whole number
// greater than 0, not 0".
CLI::Validator as_whole_number(const Bounds<int64_t>& bounds);
CLI::Validator as_number(const Bounds<double>& bounds);

/// A longest length in tokens: "130k" is 130,000 and "130K" 133,120, as in vLLM. 0 stands for
/// "auto" and "-1", which leave it to the model; a 0 in the text is refused.
CLI::Validator as_max_model_len();

}  // namespace tetrad
