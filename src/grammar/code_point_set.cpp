#include "grammar/code_point_set.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

namespace tetrad::grammar {
namespace {

/// The categories of one name, as bits by utf8proc's numbers.
struct CategoryName {
  std::string_view brief;
  std::string_view full;
  uint32_t categories;
};

constexpr uint32_t category_bit(utf8proc_category_t category) {
  return uint32_t{1} << category;
}

constexpr uint32_t kLu = category_bit(UTF8PROC_CATEGORY_LU);
constexpr uint32_t kLl = category_bit(UTF8PROC_CATEGORY_LL);
constexpr uint32_t kLt = category_bit(UTF8PROC_CATEGORY_LT);
constexpr uint32_t kLm = category_bit(UTF8PROC_CATEGORY_LM);
constexpr uint32_t kLo = category_bit(UTF8PROC_CATEGORY_LO);
constexpr uint32_t kMn = category_bit(UTF8PROC_CATEGORY_MN);
constexpr uint32_t kMc = category_bit(UTF8PROC_CATEGORY_MC);
constexpr uint32_t kMe = category_bit(UTF8PROC_CATEGORY_ME);
constexpr uint32_t kNd = category_bit(UTF8PROC_CATEGORY_ND);
constexpr uint32_t kNl = category_bit(UTF8PROC_CATEGORY_NL);
constexpr uint32_t kNo = category_bit(UTF8PROC_CATEGORY_NO);
constexpr uint32_t kPc = category_bit(UTF8PROC_CATEGORY_PC);
constexpr uint32_t kPd = category_bit(UTF8PROC_CATEGORY_PD);
constexpr uint32_t kPs = category_bit(UTF8PROC_CATEGORY_PS);
constexpr uint32_t kPe = category_bit(UTF8PROC_CATEGORY_PE);
constexpr uint32_t kPi = category_bit(UTF8PROC_CATEGORY_PI);
constexpr uint32_t kPf = category_bit(UTF8PROC_CATEGORY_PF);
constexpr uint32_t kPo = category_bit(UTF8PROC_CATEGORY_PO);
constexpr uint32_t kSm = category_bit(UTF8PROC_CATEGORY_SM);
constexpr uint32_t kSc = category_bit(UTF8PROC_CATEGORY_SC);
constexpr uint32_t kSk = category_bit(UTF8PROC_CATEGORY_SK);
constexpr uint32_t kSo = category_bit(UTF8PROC_CATEGORY_SO);
constexpr uint32_t kZs = category_bit(UTF8PROC_CATEGORY_ZS);
constexpr uint32_t kZl = category_bit(UTF8PROC_CATEGORY_ZL);
constexpr uint32_t kZp = category_bit(UTF8PROC_CATEGORY_ZP);
constexpr uint32_t kCc = category_bit(UTF8PROC_CATEGORY_CC);
constexpr uint32_t kCf = category_bit(UTF8PROC_CATEGORY_CF);
constexpr uint32_t kCs = category_bit(UTF8PROC_CATEGORY_CS);
constexpr uint32_t kCo = category_bit(UTF8PROC_CATEGORY_CO);
constexpr uint32_t kCn = category_bit(UTF8PROC_CATEGORY_CN);

constexpr auto kCategoryNames = std::to_array<CategoryName>({
    {"L", "Letter", kLu | kLl | kLt | kLm | kLo},
    {"LC", "Cased_Letter", kLu | kLl | kLt},
    {"Lu", "Uppercase_Letter", kLu},
    {"Ll", "Lowercase_Letter", kLl},
    {"Lt", "Titlecase_Letter", kLt},
    {"Lm", "Modifier_Letter", kLm},
    {"Lo", "Other_Letter", kLo},
    {"M", "Mark", kMn | kMc | kMe},
    {"M", "Combining_Mark", kMn | kMc | kMe},
    {"Mn", "Nonspacing_Mark", kMn},
    {"Mc", "Spacing_Mark", kMc},
    {"Me", "Enclosing_Mark", kMe},
    {"N", "Number", kNd | kNl | kNo},
    {"Nd", "Decimal_Number", kNd},
    {"Nd", "digit", kNd},
    {"Nl", "Letter_Number", kNl},
    {"No", "Other_Number", kNo},
    {"P", "Punctuation", kPc | kPd | kPs | kPe | kPi | kPf | kPo},
    {"P", "punct", kPc | kPd | kPs | kPe | kPi | kPf | kPo},
    {"Pc", "Connector_Punctuation", kPc},
    {"Pd", "Dash_Punctuation", kPd},
    {"Ps", "Open_Punctuation", kPs},
    {"Pe", "Close_Punctuation", kPe},
    {"Pi", "Initial_Punctuation", kPi},
    {"Pf", "Final_Punctuation", kPf},
    {"Po", "Other_Punctuation", kPo},
    {"S", "Symbol", kSm | kSc | kSk | kSo},
    {"Sm", "Math_Symbol", kSm},
    {"Sc", "Currency_Symbol", kSc},
    {"Sk", "Modifier_Symbol", kSk},
    {"So", "Other_Symbol", kSo},
    {"Z", "Separator", kZs | kZl | kZp},
    {"Zs", "Space_Separator", kZs},
    {"Zl", "Line_Separator", kZl},
    {"Zp", "Paragraph_Separator", kZp},
    {"C", "Other", kCc | kCf | kCs | kCo | kCn},
    {"Cc", "Control", kCc},
    {"Cc", "cntrl", kCc},
    {"Cf", "Format", kCf},
    {"Cs", "Surrogate", kCs},
    {"Co", "Private_Use", kCo},
    {"Cn", "Unassigned", kCn},
});

constexpr size_t kNumCategories = 30;

using CategoryRanges = std::array<std::vector<CodePointRange>, kNumCategories>;

CategoryRanges find_category_ranges() {
  CategoryRanges result;
  for (char32_t c = 0; c <= kLastCodePoint; ++c) {
    const auto category = static_cast<size_t>(utf8proc_category(static_cast<utf8proc_int32_t>(c)));
    std::vector<CodePointRange>& ranges = result[category];
    if (!ranges.empty() && ranges.back().high + 1 == c) {
      ranges.back().high = c;
    } else {
      ranges.push_back({c, c});
    }
  }
  return result;
}

CodePointSet in_categories(uint32_t categories) {
  // Made once: it takes as long as thousands of usual patterns.
  static const CategoryRanges all = find_category_ranges();
  std::vector<CodePointRange> ranges;
  for (size_t category = 0; category < all.size(); ++category) {
    if ((categories >> category & 1) == 0) continue;
    ranges.insert(ranges.end(), all[category].begin(), all[category].end());
  }
  return CodePointSet(std::move(ranges));
}

/// Appends a range that is not below the last one.
void append_code_points(std::vector<CodePointRange>& ranges, CodePointRange range) {
  if (range.low > range.high) return;
  if (!ranges.empty() && range.low <= ranges.back().high + 1) {
    ranges.back().high = std::max(ranges.back().high, range.high);
  } else {
    ranges.push_back(range);
  }
}

}  // namespace

CodePointSet::CodePointSet(std::vector<CodePointRange> ranges) {
  std::ranges::sort(ranges, {}, &CodePointRange::low);
  for (const CodePointRange& range : ranges) {
    const char32_t high = std::min(range.high, kLastCodePoint);
    append_code_points(ranges_, {range.low, std::min<char32_t>(high, kFirstSurrogate - 1)});
    append_code_points(ranges_, {std::max<char32_t>(range.low, kLastSurrogate + 1), high});
  }
}

bool CodePointSet::contains(char32_t code_point) const {
  const auto after = std::ranges::upper_bound(ranges_, code_point, {}, &CodePointRange::low);
  return after != ranges_.begin() && std::prev(after)->high >= code_point;
}

CodePointSet CodePointSet::complement() const {
  std::vector<CodePointRange> gaps;
  char32_t next = 0;
  for (const CodePointRange& range : ranges_) {
    if (range.low > next) gaps.push_back({next, range.low - 1});
    next = range.high + 1;
  }
  if (next <= kLastCodePoint) gaps.push_back({next, kLastCodePoint});
  return CodePointSet(std::move(gaps));
}

std::optional<CodePointSet> unicode_property(std::string_view name) {
  if (name == "Any") return CodePointSet::all();
  if (name == "ASCII") return CodePointSet({{0, 0x7F}});
  if (name == "Assigned") return in_categories(~kCn);
  if (name == "White_Space" || name == "space") {
    return CodePointSet({{0x09, 0x0D},
                         {0x20, 0x20},
                         {0x85, 0x85},
                         {0xA0, 0xA0},
                         {0x1680, 0x1680},
                         {0x2000, 0x200A},
                         {0x2028, 0x2029},
                         {0x202F, 0x202F},
                         {0x205F, 0x205F},
                         {0x3000, 0x3000}});
  }
  for (const std::string_view prefix : {"gc=", "General_Category="}) {
    if (name.starts_with(prefix)) {
      name.remove_prefix(prefix.size());
      break;
    }
  }
  for (const CategoryName& known : kCategoryNames) {
    if (name == known.brief || name == known.full) return in_categories(known.categories);
  }
  return std::nullopt;
}

CodePointSet digit_characters() {
  return CodePointSet({{'0', '9'}});
}

CodePointSet word_characters() {
  return CodePointSet({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
}

CodePointSet space_characters() {
  return CodePointSet({{0x09, 0x0D},
                       {0x20, 0x20},
                       {0xA0, 0xA0},
                       {0x1680, 0x1680},
                       {0x2000, 0x200A},
                       {0x2028, 0x2029},
                       {0x202F, 0x202F},
                       {0x205F, 0x205F},
                       {0x3000, 0x3000},
                       {0xFEFF, 0xFEFF}});
}

CodePointSet line_terminators() {
  return CodePointSet({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}});
}

char32_t next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0U; };
  const char32_t lead = byte(at);
  const size_t more = lead < 0xC0 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
  char32_t value = more == 0 ? lead : lead & (0x3FU >> more);
  for (size_t i = 1; i <= more; ++i)
    value = value << 6 | (byte(at + i) & 0x3F);
  at += more + 1;
  return value;
}

}  // namespace tetrad::grammar
