#include "chat/jinja/format_spec.h"

#include <fmt/format.h>

#include <cmath>

#include "chat/jinja/number_text.h"
#include "chat/jinja/python_text.h"
#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

bool is_align(char32_t c) {
  return c == U'<' || c == U'>' || c == U'^' || c == U'=';
}

/// Reads a specification from left to right.
class SpecParser {
 public:
  explicit SpecParser(std::string_view text) : text_(text) {}

  Result<FormatSpec> parse() {
    parse_alignment();
    if (!rest().empty() && std::string_view("+- ").find(rest()[0]) != std::string_view::npos) {
      spec_.sign = take();
    }
    if (skip('#')) spec_.alternate = true;
    if (skip('0') && spec_.align == 0) {
      spec_.fill = U'0';
      spec_.align = '=';
    }
    TETRAD_ASSIGN(spec_.width, number(0, kMaxFormatWidth, "width"));
    if (!rest().empty() && (rest()[0] == ',' || rest()[0] == '_')) spec_.grouping = take();
    if (skip('.')) {
      TETRAD_ASSIGN(const int64_t precision, number(-1, kMaxFormatWidth, "precision"));
      if (precision < 0) {
        return fail(ErrorCode::invalid_argument, "Format specifier missing precision");
      }
      spec_.precision = static_cast<int>(precision);
    }
    if (!rest().empty()) spec_.type = take();
    if (!rest().empty()) {
      return fail(ErrorCode::invalid_argument, "Invalid format specifier '{}'", text_);
    }
    return spec_;
  }

 private:
  std::string_view rest() const { return text_.substr(position_); }
  char take() { return text_[position_++]; }
  bool skip(char c) {
    if (rest().empty() || rest()[0] != c) return false;
    ++position_;
    return true;
  }

  void parse_alignment() {
    if (text_.empty()) return;
    size_t after_fill = 0;
    const char32_t fill = decode_code_point(text_, after_fill);
    if (after_fill < text_.size() && is_align(static_cast<unsigned char>(text_[after_fill]))) {
      spec_.fill = fill;
      position_ = after_fill;
      spec_.align = take();
    } else if (is_align(fill)) {
      spec_.align = take();
    }
  }

  Result<int64_t> number(int64_t if_absent, int64_t limit, std::string_view what) {
    if (rest().empty() || rest()[0] < '0' || rest()[0] > '9') return if_absent;
    int64_t value = 0;
    while (!rest().empty() && rest()[0] >= '0' && rest()[0] <= '9') {
      value = value * 10 + (take() - '0');
      if (value > limit) {
        return fail(ErrorCode::resource_exhausted, "a format {} of over {}", what, limit);
      }
    }
    return value;
  }

  std::string_view text_;
  size_t position_ = 0;
  FormatSpec spec_;
};

/// `digits` may be preceded by `prefix` (sign, 0x), behind which '=' puts the padding.
Result<std::string> pad(std::string_view prefix, std::string_view digits, const FormatSpec& spec,
                        char default_align, Budget& budget) {
  const int64_t length = count_code_points(prefix) + count_code_points(digits);
  const int64_t missing = std::max<int64_t>(0, spec.width - length);
  std::string fill;
  append_code_point(fill, spec.fill);
  TETRAD_TRY(budget.spend_bytes(static_cast<size_t>(missing) * fill.size() + prefix.size() +
                                digits.size()));
  const char align = spec.align == 0 ? default_align : spec.align;
  const int64_t before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  const auto filling = [&](int64_t count) {
    std::string out;
    for (int64_t i = 0; i < count; ++i)
      out += fill;
    return out;
  };
  std::string out;
  if (align == '=') {
    out.append(prefix).append(filling(missing)).append(digits);
  } else {
    out.append(filling(before)).append(prefix).append(digits).append(filling(missing - before));
  }
  return out;
}

std::string group_digits(std::string_view digits, char separator, size_t group) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % group == 0) out += separator;
    out += digits[i];
  }
  return out;
}

std::string sign_text(bool is_negative, char sign) {
  if (is_negative) return "-";
  return sign == '-' ? "" : std::string(1, sign);
}

Result<std::string> float_digits(double magnitude, const FormatSpec& spec) {
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  switch (spec.type) {
    case 'e':
      return spec.alternate ? fmt::format("{:#.{}e}", magnitude, precision)
                            : fmt::format("{:.{}e}", magnitude, precision);
    case 'E':
      return spec.alternate ? fmt::format("{:#.{}E}", magnitude, precision)
                            : fmt::format("{:.{}E}", magnitude, precision);
    case 'f':
    case 'F':
      return spec.alternate ? fmt::format("{:#.{}f}", magnitude, precision)
                            : fmt::format("{:.{}f}", magnitude, precision);
    case 'g':
      return spec.alternate ? fmt::format("{:#.{}g}", magnitude, precision)
                            : fmt::format("{:.{}g}", magnitude, precision);
    case 'G':
      return spec.alternate ? fmt::format("{:#.{}G}", magnitude, precision)
                            : fmt::format("{:.{}G}", magnitude, precision);
    case '%':
      return fmt::format("{:.{}f}%", magnitude * 100, precision);
    case 0: {
      if (spec.precision < 0) return float_text(magnitude);
      // Like g, but never without a decimal point.
      std::string text = fmt::format("{:.{}g}", magnitude, std::max(1, spec.precision));
      if (text.find_first_of(".en") == text.npos) text += ".0";
      return text;
    }
    default:
      return fail(ErrorCode::invalid_argument, "Unknown format code '{}' for a float", spec.type);
  }
}

Result<int> base_of(char type) {
  switch (type) {
    case 0:
    case 'd':
    case 'n':
      return 10;
    case 'b':
      return 2;
    case 'o':
      return 8;
    case 'x':
    case 'X':
      return 16;
    default:
      return fail(ErrorCode::invalid_argument, "Unknown format code '{}' for an integer", type);
  }
}

}  // namespace

Result<FormatSpec> parse_format_spec(std::string_view text) {
  return SpecParser(text).parse();
}

Result<std::string> format_integer(Int value, const FormatSpec& spec, Budget& budget) {
  TETRAD_ASSIGN(const int base, base_of(spec.type));
  if (spec.precision >= 0) {
    return fail(ErrorCode::invalid_argument, "Precision not allowed in integer format specifier");
  }
  std::string digits = digits_in_base(value, base, spec.type == 'X');
  if (spec.grouping != 0) digits = group_digits(digits, spec.grouping, base == 10 ? 3 : 4);
  std::string prefix = sign_text(value < 0, spec.sign);
  if (spec.alternate && base != 10) prefix += std::string("0") + spec.type;
  return pad(prefix, digits, spec, '>', budget);
}

Result<std::string> format_float(double value, const FormatSpec& spec, Budget& budget) {
  if (spec.precision > kMaxFloatPrecision) {
    return fail(ErrorCode::resource_exhausted, "a float precision of over {}", kMaxFloatPrecision);
  }
  std::string digits;
  if (!std::isfinite(value)) {
    digits = std::isnan(value) ? "nan" : "inf";
    if (spec.type == 'E' || spec.type == 'F' || spec.type == 'G') digits = to_upper(digits);
    if (spec.type == '%') digits += '%';
  } else {
    TETRAD_ASSIGN(digits, float_digits(std::fabs(value), spec));
  }
  if (spec.grouping != 0) {
    const size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
    digits = group_digits(digits.substr(0, whole), spec.grouping, 3) + digits.substr(whole);
  }
  const bool is_negative = std::signbit(value) && !std::isnan(value);
  return pad(sign_text(is_negative, spec.sign), digits, spec, '>', budget);
}

Result<std::string> format_string(std::string_view text, const FormatSpec& spec, Budget& budget) {
  if (spec.type != 0 && spec.type != 's') {
    return fail(ErrorCode::invalid_argument, "Unknown format code '{}' for a string", spec.type);
  }
  if (spec.align == '=' || spec.sign != '-' || spec.alternate || spec.grouping != 0) {
    return fail(ErrorCode::invalid_argument, "a sign, '=', '#' or grouping in a string format");
  }
  if (spec.precision >= 0) text = text.substr(0, byte_offset(text, spec.precision));
  return pad("", text, spec, '<', budget);
}

Result<std::string> format_value(const Value& value, const FormatSpec& spec, Budget& budget) {
  const bool float_type =
      spec.type != 0 && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos;
  if (value.kind() == Kind::floating || (value.is_integral() && float_type)) {
    return format_float(value.as_number(), spec, budget);
  }
  if (value.is_integral()) return format_integer(value.as_integer(), spec, budget);
  if (value.is_string()) return format_string(value.bytes(), spec, budget);
  return fail(ErrorCode::invalid_argument, "unsupported format string passed to {}.__format__",
              value.type_name());
}

}  // namespace tetrad::jinja
