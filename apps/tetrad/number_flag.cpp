#include "number_flag.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <string>
#include <string_view>

namespace tetrad {
namespace {

/// "greater than 0", "from 1 to 4096", "of at least 0 and below 1".
template <class Number>
std::string describe(const Bounds<Number>& bounds) {
  if (bounds.from && bounds.to) return fmt::format("from {} to {}", *bounds.from, *bounds.to);
  std::string text;
  if (bounds.above) text = fmt::format("greater than {}", *bounds.above);
  if (bounds.from) text = fmt::format("of at least {}", *bounds.from);
  if (bounds.to) text += fmt::format(" and at most {}", *bounds.to);
  if (bounds.below) text += fmt::format(" and below {}", *bounds.below);
  return text;
}

/// Written so that NaN is outside.
template <class Number>
bool holds(const Bounds<Number>& bounds, Number number) {
  return (!bounds.above || number > *bounds.above) && (!bounds.from || number >= *bounds.from) &&
         (!bounds.to || number <= *bounds.to) && (!bounds.below || number < *bounds.below);
}

template <class Number>
CLI::Validator validator(const Bounds<Number>& bounds, std::string_view kind) {
  const auto read = [bounds, kind](std::string& text) -> std::string {
    Number number{};
    const char* end = text.data() + text.size();
    const auto [rest, ec] = std::from_chars(text.data(), end, number);
    if (ec == std::errc() && rest == end && holds(bounds, number)) {
      text = fmt::to_string(number);
      return {};
    }
    Bounds<Number> said = bounds;
    // The type's own bound is worth a word only where it is what was exceeded.
    const bool is_too_large = ec == std::errc::result_out_of_range && !text.starts_with('-');
    if (is_too_large && !said.to && !said.below) said.to = std::numeric_limits<Number>::max();
    return fmt::format("must be a {} {}, not {}", kind, describe(said),
                       text.empty() ? "empty" : text);
  };
  return {read, describe(bounds), "number"};
}

}  // namespace

CLI::Validator as_whole_number(const Bounds<int64_t>& bounds) {
  return validator(bounds, "whole number");
}

CLI::Validator as_number(const Bounds<double>& bounds) {
  return validator(bounds, "number");
}

CLI::Validator as_max_model_len() {
  const auto read = [](std::string& text) -> std::string {
    if (text == "auto" || text == "-1") {
      text = "0";
      return {};
    }
    int64_t number = 0;
    const char* end = text.data() + text.size();
    const auto [rest, ec] = std::from_chars(text.data(), end, number);
    const std::string_view unit(rest, static_cast<size_t>(end - rest));
    int64_t factor = 0;
    if (unit.empty()) factor = 1;
    if (unit == "k") factor = 1000;
    if (unit == "K") factor = 1024;
    int64_t length = 0;
    if (ec != std::errc() || number < 1 || factor == 0 ||
        __builtin_mul_overflow(number, factor, &length)) {
      return fmt::format("'{}' is not a number of tokens such as 4096, 130k or 128K", text);
    }
    text = fmt::to_string(length);
    return {};
  };
  return {read, "tokens", "length"};
}

}  // namespace tetrad
