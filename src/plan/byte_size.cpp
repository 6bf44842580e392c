#include "plan/byte_size.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/checked_math.h"

namespace tetrad::plan {
namespace {

constexpr int64_t kMaxGpus = 4096;

struct Unit {
  std::string_view name;
  uint64_t bytes;
};

constexpr std::array kUnits = {
    Unit{"B", 1},
    Unit{"kB", 1'000},
    Unit{"KB", 1'000},
    Unit{"MB", 1'000'000},
    Unit{"GB", 1'000'000'000},
    Unit{"TB", 1'000'000'000'000},
    Unit{"KiB", uint64_t{1} << 10},
    Unit{"MiB", uint64_t{1} << 20},
    Unit{"GiB", uint64_t{1} << 30},
    Unit{"TiB", uint64_t{1} << 40},
};

tl::unexpected<Error> bad_size(std::string_view text, std::string_view why) {
  return fail(ErrorCode::invalid_argument,
              "'{}' {}; write a number and its unit, as in 32GiB (1024^3 bytes each) or 32GB "
              "(1000^3)",
              text, why);
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// The digits and the point of "11.35GiB".
std::string_view leading_number(std::string_view text) {
  const auto* end =
      std::find_if_not(text.begin(), text.end(), [](char c) { return is_digit(c) || c == '.'; });
  return text.substr(0, static_cast<size_t>(end - text.begin()));
}

std::optional<uint64_t> parse_digits(std::string_view digits) {
  uint64_t value = 0;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || rest != digits.data() + digits.size()) return std::nullopt;
  return value;
}

/// Keeps unit * digits below 2^60.
constexpr size_t kMaxFractionDigits = 6;

/// `unit` times the decimal fraction 0.<digits>, rounded down.
uint64_t fraction_of(uint64_t unit, std::string_view digits) {
  uint64_t numerator = 0;
  uint64_t denominator = 1;
  for (const char digit : digits) {
    numerator = numerator * 10 + static_cast<uint64_t>(digit - '0');
    denominator *= 10;
  }
  return unit * numerator / denominator;
}

}  // namespace

Result<int64_t> parse_byte_size(std::string_view text) {
  const std::string_view number = leading_number(text);
  const std::string_view unit_name = text.substr(number.size());
  const size_t point = std::min(number.find('.'), number.size());
  const std::string_view whole_digits = number.substr(0, point);
  const std::string_view fraction = number.substr(std::min(point + 1, number.size()));
  if (whole_digits.empty() || fraction.find('.') != std::string_view::npos ||
      (point < number.size() && fraction.empty())) {
    return bad_size(text, "does not begin with a number");
  }
  if (fraction.size() > kMaxFractionDigits) {
    return bad_size(text, "has more than 6 decimals");
  }
  const auto* unit = std::ranges::find(kUnits, unit_name, &Unit::name);
  if (unit_name.empty()) return bad_size(text, "has no unit");
  if (unit == kUnits.end()) return bad_size(text, "has an unknown unit");

  const auto whole = parse_digits(whole_digits);
  const auto whole_bytes = whole ? checked_mul(*whole, unit->bytes) : std::nullopt;
  const auto bytes =
      whole_bytes ? checked_add(*whole_bytes, fraction_of(unit->bytes, fraction)) : std::nullopt;
  if (!bytes || *bytes > static_cast<uint64_t>(kMaxByteSize)) {
    return bad_size(text, "is more than any machine has");
  }
  if (*bytes == 0) return bad_size(text, "is nothing");
  return static_cast<int64_t>(*bytes);
}

Result<GpuSet> parse_gpu_set(std::string_view text) {
  GpuSet gpus;
  std::string_view size = text;
  if (const size_t times = text.find('x'); times != std::string_view::npos) {
    const auto count = parse_digits(text.substr(0, times));
    if (!count || *count == 0 || *count > static_cast<uint64_t>(kMaxGpus)) {
      return fail(
          ErrorCode::invalid_argument,
          "'{}': '{}' is not a number of GPUs from 1 to {}; write COUNTxSIZE, as in 8x32GiB", text,
          text.substr(0, times), kMaxGpus);
    }
    gpus.count = static_cast<int64_t>(*count);
    size = text.substr(times + 1);
  }
  TETRAD_ASSIGN(gpus.bytes_each, parse_byte_size(size));
  return gpus;
}

}  // namespace tetrad::plan
