#include "chat/jinja/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "chat/jinja/case_table.h"

namespace tetrad::jinja {
namespace {

struct CodePointRange {
  char32_t first;
  char32_t last;

  bool operator<(char32_t c) const { return last < c; }
};

template <size_t N>
bool contains(const std::array<CodePointRange, N>& ranges, char32_t c) {
  const auto* const range = std::lower_bound(ranges.begin(), ranges.end(), c);
  return range != ranges.end() && range->first <= c;
}

// Numeric_Type=Digit outside of the decimal digits (superscripts, circled digits, …).
constexpr std::array<CodePointRange, 20> kOtherDigits = {{
    {0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},
    {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
    {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
    {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
    {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A},
}};

// Other_Lowercase and Other_Uppercase: case without being a cased letter.
constexpr std::array<CodePointRange, 23> kOtherLower = {{
    {0xAA, 0xAA},       {0xBA, 0xBA},       {0x2B0, 0x2B8},     {0x2C0, 0x2C1},   {0x2E0, 0x2E4},
    {0x345, 0x345},     {0x37A, 0x37A},     {0x1D2C, 0x1D6A},   {0x1D78, 0x1D78}, {0x1D9B, 0x1DBF},
    {0x2071, 0x2071},   {0x207F, 0x207F},   {0x2090, 0x209C},   {0x2170, 0x217F}, {0x24D0, 0x24E9},
    {0x2C7C, 0x2C7D},   {0xA69C, 0xA69D},   {0xA770, 0xA770},   {0xA7F8, 0xA7F9}, {0xAB5C, 0xAB5F},
    {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107BA},
}};
constexpr std::array<CodePointRange, 5> kOtherUpper = {{
    {0x2160, 0x216F},
    {0x24B6, 0x24CF},
    {0x1F130, 0x1F149},
    {0x1F150, 0x1F169},
    {0x1F170, 0x1F189},
}};

constexpr char32_t kCapitalSigma = 0x3A3;
constexpr char32_t kFinalSigma = 0x3C2;
constexpr char32_t kCapitalIWithDot = 0x130;

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

char32_t simple_upper(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}

char32_t simple_lower(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

char32_t simple_title(char32_t c) {
  return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
}

/// Does not count as a neighbour of a final sigma: marks, modifiers, apostrophes.
bool is_case_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return std::u32string_view(U"'.:\u00B7\u2018\u2019\u2024\u2027").find(c) !=
             std::u32string_view::npos;
  }
}

bool cased_letter_follows(std::string_view text, size_t position) {
  while (position < text.size()) {
    const char32_t c = decode_code_point(text, position);
    if (!is_case_ignorable(c)) return is_cased(c);
  }
  return false;
}

/// Lower case, one character at a time, because a sigma looks at its neighbours.
class Lowering {
 public:
  explicit Lowering(std::string_view text) : text_(text) {}

  /// Appends the lower case of `c`, behind which `position` stands.
  void append(std::string& out, char32_t c, size_t position) {
    if (c == kCapitalSigma && after_cased_ && !cased_letter_follows(text_, position)) {
      append_code_point(out, kFinalSigma);
    } else if (c == kCapitalIWithDot) {
      out += "i\u0307";
    } else {
      append_code_point(out, simple_lower(c));
    }
    passed(c);
  }

  /// Notes a character that was written by other means.
  void passed(char32_t c) {
    if (!is_case_ignorable(c)) after_cased_ = is_cased(c);
  }

 private:
  std::string_view text_;
  bool after_cased_ = false;
};

void append_upper(std::string& out, char32_t c) {
  const std::string_view expanded = expanded_upper(c);
  if (expanded.empty()) {
    append_code_point(out, simple_upper(c));
  } else {
    out += expanded;
  }
}

void append_title(std::string& out, char32_t c) {
  const std::string_view expanded = expanded_upper(c);
  if (expanded.empty() || is_title(c) || (simple_title(c) != c && c != 0xDF)) {
    append_code_point(out, simple_title(c));
    return;
  }
  // "SS" becomes "Ss"; what comes before the first capital stays.
  size_t position = 0;
  while (position < expanded.size() && !is_upper(decode_code_point(expanded, position))) {
  }
  out += expanded.substr(0, position);
  out += to_lower(expanded.substr(position));
}

}  // namespace

int64_t count_code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

char32_t decode_code_point(std::string_view text, size_t& position) {
  utf8proc_int32_t code_point = 0;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data() + position);
  const auto taken =
      utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size() - position), &code_point);
  if (taken <= 0) {
    ++position;
    return U'\uFFFD';
  }
  position += static_cast<size_t>(taken);
  return static_cast<char32_t>(code_point);
}

void append_code_point(std::string& out, char32_t code_point) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes.data());
  out.append(bytes.begin(), bytes.begin() + size);
}

size_t byte_offset(std::string_view text, int64_t index) {
  size_t position = 0;
  for (; position < text.size(); ++position) {
    const bool is_start = (static_cast<unsigned char>(text[position]) & 0xC0U) != 0x80U;
    if (is_start && index-- == 0) break;
  }
  return position;
}

bool is_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_alpha(char32_t c) {
  const auto letter = category(c);
  return letter >= UTF8PROC_CATEGORY_LU && letter <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_ND;
}

bool is_digit(char32_t c) {
  return is_decimal(c) || contains(kOtherDigits, c);
}

bool is_alnum(char32_t c) {
  const auto kind = category(c);
  return is_alpha(c) || (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO);
}

bool is_printable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return c == U' ';
    default:
      return true;
  }
}

bool is_upper(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LU || contains(kOtherUpper, c);
}

bool is_lower(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LL || contains(kOtherLower, c);
}

bool is_title(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LT;
}

bool is_cased(char32_t c) {
  return is_upper(c) || is_lower(c) || is_title(c);
}

std::string to_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    append_upper(out, decode_code_point(text, position));
  }
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  Lowering lowering(text);
  for (size_t position = 0; position < text.size();) {
    const char32_t c = decode_code_point(text, position);
    lowering.append(out, c, position);
  }
  return out;
}

std::string to_capitalized(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  Lowering lowering(text);
  for (size_t position = 0; position < text.size();) {
    const bool is_first = position == 0;
    const char32_t c = decode_code_point(text, position);
    if (is_first) {
      append_title(out, c);
      lowering.passed(c);
    } else {
      lowering.append(out, c, position);
    }
  }
  return out;
}

std::string to_title(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  Lowering lowering(text);
  bool inside_word = false;
  for (size_t position = 0; position < text.size();) {
    const char32_t c = decode_code_point(text, position);
    if (inside_word) {
      lowering.append(out, c, position);
    } else {
      append_title(out, c);
      lowering.passed(c);
    }
    inside_word = is_cased(c);
  }
  return out;
}

std::string to_swapped_case(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  Lowering lowering(text);
  for (size_t position = 0; position < text.size();) {
    const char32_t c = decode_code_point(text, position);
    if (is_upper(c)) {
      lowering.append(out, c, position);
      continue;
    }
    if (is_lower(c)) {
      append_upper(out, c);
    } else {
      append_code_point(out, c);
    }
    lowering.passed(c);
  }
  return out;
}

}  // namespace tetrad::jinja
