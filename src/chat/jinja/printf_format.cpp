#include "chat/jinja/printf_format.h"

#include "chat/jinja/format_spec.h"
#include "chat/jinja/number_text.h"
#include "chat/jinja/python_text.h"
#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

/// One rendering of a format string.
class Printf {
 public:
  Printf(std::string_view format, const Value& arguments, Budget& budget)
      : format_(format), arguments_(&arguments), budget_(&budget) {}

  Result<std::string> run() {
    while (position_ < format_.size()) {
      const size_t percent = std::min(format_.find('%', position_), format_.size());
      TETRAD_TRY(append(format_.substr(position_, percent - position_)));
      position_ = percent;
      if (position_ < format_.size()) TETRAD_TRY(conversion());
    }
    const bool is_mapping =
        arguments_->is_undefined() || arguments_->is_dict() || arguments_->kind() == Kind::list;
    if (!is_mapping && used_ < argument_count()) {
      return fail(ErrorCode::invalid_argument,
                  "not all arguments converted during string formatting");
    }
    return std::move(out_);
  }

 private:
  bool is_tuple() const { return arguments_->kind() == Kind::tuple; }
  size_t argument_count() const { return is_tuple() ? arguments_->items().size() : 1; }

  Result<void> append(std::string_view text) {
    TETRAD_TRY(budget_->spend_append(out_.size(), text.size()));
    out_ += text;
    return {};
  }

  Result<char> take() {
    if (position_ >= format_.size()) {
      return fail(ErrorCode::invalid_argument, "incomplete format");
    }
    return format_[position_++];
  }

  Result<Value> next_argument() {
    if (used_ >= argument_count()) {
      return fail(ErrorCode::invalid_argument, "not enough arguments for format string");
    }
    const size_t index = used_++;
    return is_tuple() ? arguments_->items()[index] : *arguments_;
  }

  /// "(key)" of a conversion: the value of that key.
  Result<Value> keyed_argument() {
    const size_t end = format_.find(')', position_);
    if (end == std::string_view::npos) {
      return fail(ErrorCode::invalid_argument, "incomplete format key");
    }
    if (!arguments_->is_dict())
      return fail(ErrorCode::invalid_argument, "format requires a mapping");
    const std::string_view key = format_.substr(position_, end - position_);
    position_ = end + 1;
    const Value* value = arguments_->as_dict().find(key);
    if (value == nullptr) return fail(ErrorCode::invalid_argument, "no key '{}' to format", key);
    return *value;
  }

  /// A number, or `*` for the next argument.
  Result<Int> number() {
    if (position_ < format_.size() && format_[position_] == '*') {
      ++position_;
      TETRAD_ASSIGN(const Value value, next_argument());
      if (!value.is_integral()) return fail(ErrorCode::invalid_argument, "* wants int");
      return value.as_integer();
    }
    Int value = 0;
    while (position_ < format_.size() && format_[position_] >= '0' && format_[position_] <= '9') {
      value = std::min<Int>(value * 10 + (format_[position_++] - '0'), kMaxFormatWidth + 1);
    }
    return value;
  }

  Result<void> conversion();
  Result<void> flags_and_width(FormatSpec& spec);
  Result<std::string> convert(char type, const Value& value, FormatSpec spec);
  Result<std::string> convert_integer(char type, const Value& value, FormatSpec spec);
  Result<std::string> convert_character(const Value& value, const FormatSpec& spec);

  std::string_view format_;
  const Value* arguments_;
  Budget* budget_;
  size_t position_ = 0;
  size_t used_ = 0;
  std::string out_;
};

Result<void> Printf::flags_and_width(FormatSpec& spec) {
  bool left = false;
  bool zeros = false;
  for (; position_ < format_.size(); ++position_) {
    const char flag = format_[position_];
    if (flag == '-') {
      left = true;
    } else if (flag == '0') {
      zeros = true;
    } else if (flag == '+' || (flag == ' ' && spec.sign != '+')) {
      spec.sign = flag;
    } else if (flag == '#') {
      spec.alternate = true;
    } else if (flag != ' ') {
      break;
    }
  }
  TETRAD_ASSIGN(Int width, number());
  if (width > kMaxFormatWidth || width < -kMaxFormatWidth) {
    return fail(ErrorCode::resource_exhausted, "a format width of over {}", kMaxFormatWidth);
  }
  if (width < 0) {
    left = true;
    width = -width;
  }
  spec.width = static_cast<int64_t>(width);
  spec.align = left ? '<' : '>';
  if (zeros && !left) {
    spec.align = '=';
    spec.fill = U'0';
  }
  return {};
}

Result<void> Printf::conversion() {
  ++position_;  // %
  std::optional<Value> value;
  if (position_ < format_.size() && format_[position_] == '(') {
    ++position_;
    TETRAD_ASSIGN(value, keyed_argument());
    used_ = 1;
  }
  FormatSpec spec;
  TETRAD_TRY(flags_and_width(spec));
  if (position_ < format_.size() && format_[position_] == '.') {
    ++position_;
    TETRAD_ASSIGN(const Int precision, number());
    if (precision > kMaxFormatWidth) {
      return fail(ErrorCode::resource_exhausted, "a format precision of over {}", kMaxFormatWidth);
    }
    spec.precision = precision < 0 ? 0 : static_cast<int>(precision);
  }
  TETRAD_ASSIGN(char type, take());
  if (type == 'h' || type == 'l' || type == 'L') {
    TETRAD_ASSIGN(type, take());
  }
  if (type == '%') return append("%");
  if (!value) {
    TETRAD_ASSIGN(value, next_argument());
  }
  TETRAD_ASSIGN(const std::string text, convert(type, *value, spec));
  return append(text);
}

Result<std::string> Printf::convert(char type, const Value& value, FormatSpec spec) {
  switch (type) {
    case 's':
    case 'r': {
      TETRAD_ASSIGN(const std::string text,
                    type == 's' ? to_text(value, *budget_) : repr(value, *budget_));
      FormatSpec plain;
      plain.width = spec.width;
      plain.precision = spec.precision;
      plain.align = spec.align == '<' ? '<' : '>';
      return format_string(text, plain, *budget_);
    }
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
      return convert_integer(type, value, spec);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      if (!value.is_number()) {
        return fail(ErrorCode::invalid_argument, "must be real number, not {}", value.type_name());
      }
      spec.type = type;
      return format_float(value.as_number(), spec, *budget_);
    case 'c':
      return convert_character(value, spec);
    default:
      return fail(ErrorCode::invalid_argument, "unsupported format character '{}'", type);
  }
}

Result<std::string> Printf::convert_integer(char type, const Value& value, FormatSpec spec) {
  const bool is_decimal_type = type == 'd' || type == 'i' || type == 'u';
  std::optional<Int> number;
  if (value.is_integral()) {
    number = value.as_integer();
  } else if (value.kind() == Kind::floating && is_decimal_type) {
    number = truncate_to_int(value.as_floating());
  }
  if (!number) {
    return fail(ErrorCode::invalid_argument, "%{} format: a number is required, not {}", type,
                value.type_name());
  }
  spec.type = is_decimal_type ? 'd' : type;
  if (spec.precision < 0) return format_integer(*number, spec, *budget_);
  // Here, unlike in str.format, a precision is the least number of digits.
  FormatSpec digits = spec;
  digits.width = spec.precision + (*number < 0 || spec.sign != '-' ? 1 : 0) +
                 (spec.alternate && !is_decimal_type ? 2 : 0);
  digits.precision = -1;
  digits.align = '=';
  digits.fill = U'0';
  TETRAD_ASSIGN(const std::string text, format_integer(*number, digits, *budget_));
  FormatSpec padding;
  padding.width = spec.width;
  padding.align = spec.align == '<' ? '<' : '>';
  return format_string(text, padding, *budget_);
}

Result<std::string> Printf::convert_character(const Value& value, const FormatSpec& spec) {
  std::string text;
  if (value.is_string() && value.as_string().length == 1) {
    text = value.bytes();
  } else if (value.is_integral() && value.as_integer() >= 0 && value.as_integer() < 0x110000 &&
             (value.as_integer() < 0xD800 || value.as_integer() > 0xDFFF)) {
    append_code_point(text, static_cast<char32_t>(value.as_integer()));
  } else {
    return fail(ErrorCode::invalid_argument, "%c requires int or char");
  }
  FormatSpec padding;
  padding.width = spec.width;
  padding.align = spec.align == '<' ? '<' : '>';
  return format_string(text, padding, *budget_);
}

}  // namespace

Result<Value> format_printf(const String& format, const Value& arguments, Budget& budget) {
  TETRAD_ASSIGN(std::string text, Printf(format.bytes, arguments, budget).run());
  return Value::string(std::move(text), format.is_markup);
}

}  // namespace tetrad::jinja
