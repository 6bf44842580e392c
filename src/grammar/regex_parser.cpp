#include <fmt/core.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "grammar/regex_ast.h"
#include "grammar/regex_escape.h"
#include "text/utf8.h"

namespace tetrad::grammar {
namespace {

struct RangesHash {
  size_t operator()(const CodePointSet& set) const {
    uint64_t hash = 0;
    for (const CodePointRange& range : set.ranges()) {
      hash ^= uint64_t{range.low} << 32 | range.high;
      hash *= 0x9E3779B97F4A7C15;
      hash ^= hash >> 29;
    }
    return hash;
  }
};

/// A quantifier's counts.
struct Quantifier {
  int64_t min;
  int64_t max;
};

/// Recursive descent; a group is one level.
class RegexParser {
 public:
  explicit RegexParser(std::string_view pattern) : cursor_(pattern) {}

  Result<RegexAst> parse() {
    TETRAD_ASSIGN(ast_.root, choice());
    if (!cursor_.done()) return bad_pattern(cursor_.offset(), "a ) that closes no group");
    return std::move(ast_);
  }

 private:
  using Kind = RegexNode::Kind;

  int32_t add(RegexNode node) {
    ast_.nodes.push_back(std::move(node));
    return static_cast<int32_t>(ast_.nodes.size()) - 1;
  }

  int32_t add_set(CodePointSet set) {
    const auto next = static_cast<int32_t>(ast_.sets.size());
    const auto [place, added] = set_numbers_.try_emplace(set, next);
    if (added) ast_.sets.push_back(std::move(set));
    return add({.kind = Kind::set, .set = place->second});
  }

  Result<int32_t> choice() {
    std::vector<int32_t> options;
    do {
      TETRAD_ASSIGN(const int32_t option, sequence());
      options.push_back(option);
    } while (cursor_.take("|"));
    if (options.size() == 1) return options.front();
    return add({.kind = Kind::choice, .children = std::move(options)});
  }

  Result<int32_t> sequence() {
    std::vector<int32_t> parts;
    while (!cursor_.done() && cursor_.peek() != '|' && cursor_.peek() != ')') {
      TETRAD_ASSIGN(const int32_t part, term());
      parts.push_back(part);
    }
    if (parts.size() == 1) return parts.front();
    return add({.kind = Kind::sequence, .children = std::move(parts)});
  }

  /// One atom or assertion with its quantifier.
  Result<int32_t> term() {
    TETRAD_ASSIGN(const int32_t operand, atom());
    const size_t start = cursor_.offset();
    TETRAD_ASSIGN(const std::optional<Quantifier> counts, quantifier());
    if (!counts) return operand;
    const Kind kind = ast_.nodes[static_cast<size_t>(operand)].kind;
    if (kind == Kind::begin || kind == Kind::end) {
      return bad_pattern(start, "a quantifier behind an anchor");
    }
    if (counts->max != RegexNode::kUnbounded && counts->max < counts->min) {
      return bad_pattern(start, "a quantifier whose maximum is below its minimum");
    }
    cursor_.take("?");  // lazy: the same texts
    const size_t behind = cursor_.offset();
    if (cursor_.take("+")) return bad_pattern(behind, "possessive quantifiers are not supported");
    TETRAD_ASSIGN(const std::optional<Quantifier> second, quantifier());
    if (second) return bad_pattern(behind, "a quantifier behind a quantifier");
    return add(
        {.kind = Kind::repeat, .children = {operand}, .min = counts->min, .max = counts->max});
  }

  Result<std::optional<Quantifier>> quantifier() {
    if (cursor_.take("*")) return Quantifier{0, RegexNode::kUnbounded};
    if (cursor_.take("+")) return Quantifier{1, RegexNode::kUnbounded};
    if (cursor_.take("?")) return Quantifier{0, 1};
    const size_t start = cursor_.offset();
    if (!cursor_.take("{")) return std::nullopt;
    if (cursor_.peek() == ',') {
      const size_t behind = cursor_.offset();
      cursor_.take(",");
      if (cursor_.take_number() && cursor_.peek() == '}') {
        return bad_pattern(start, "{,n} means different things to different readers; write {0,n}");
      }
      cursor_.move_to(behind);
    }
    const size_t digits = cursor_.offset();
    const std::optional<int64_t> min = cursor_.take_number();
    if (!min && cursor_.offset() > digits) return bad_pattern(start, "a count is too large");
    if (min && cursor_.take("}")) return Quantifier{*min, *min};
    if (min && cursor_.take(",")) {
      if (cursor_.take("}")) return Quantifier{*min, RegexNode::kUnbounded};
      const size_t more = cursor_.offset();
      const std::optional<int64_t> max = cursor_.take_number();
      if (!max && cursor_.offset() > more) return bad_pattern(start, "a count is too large");
      if (max && cursor_.take("}")) return Quantifier{*min, *max};
    }
    cursor_.move_to(start);  // a brace that stands for itself
    return std::nullopt;
  }

  Result<int32_t> atom() {
    const size_t start = cursor_.offset();
    if (cursor_.take("(")) return group(start);
    if (cursor_.take("[")) return character_class(start);
    if (cursor_.take("\\")) return escape();
    if (cursor_.take(".")) return add_set(line_terminators().complement());
    if (cursor_.take("^")) return add({.kind = Kind::begin});
    if (cursor_.take("$")) return add({.kind = Kind::end});
    TETRAD_ASSIGN(const std::optional<Quantifier> stray, quantifier());
    if (stray) return bad_pattern(start, "a quantifier with nothing before it to repeat");
    const char32_t c = cursor_.next();
    return add_set(CodePointSet({{c, c}}));
  }

  Result<int32_t> group(size_t start) {
    TETRAD_TRY(group_name(start));
    if (++depth_ > kMaxPatternDepth) {
      return bad_pattern(start,
                         fmt::format("groups are nested more than {} deep", kMaxPatternDepth));
    }
    TETRAD_ASSIGN(const int32_t inner, choice());
    --depth_;
    if (!cursor_.take(")")) return bad_pattern(start, "a group is not closed");
    // A group of its own node: what follows ^ in (^) is no quantifier behind an anchor.
    return add({.kind = Kind::sequence, .children = {inner}});
  }

  /// What may follow the parenthesis. Which group it is does not matter to the texts.
  Result<void> group_name(size_t start) {
    if (!cursor_.take("?") || cursor_.take(":")) return {};
    for (const std::string_view around : {"=", "!", "<=", "<!"}) {
      if (cursor_.starts_with(around)) {
        return bad_pattern(start, "look-ahead and look-behind are not supported");
      }
    }
    if (cursor_.starts_with("P=")) {
      return bad_pattern(start, "back references are not regular, and not supported");
    }
    if (cursor_.take("<") || cursor_.take("P<")) {
      const std::optional<std::string_view> name = cursor_.take_until('>');
      if (!name || name->empty() || !std::ranges::all_of(*name, is_name_character) ||
          (name->front() >= '0' && name->front() <= '9')) {
        return bad_pattern(start, "a group's name takes letters, digits and underscores");
      }
      if (!names_.emplace(*name, true).second) {
        return bad_pattern(start, fmt::format("a second group with the name {}", *name));
      }
      return {};
    }
    return bad_pattern(start,
                       "flags such as (?i) and kinds of groups other than (…), (?:…) and "
                       "(?<name>…) are not supported");
  }

  static bool is_name_character(char c) {
    return c == '_' || c == '$' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
           (c >= 'a' && c <= 'z') || static_cast<uint8_t>(c) >= 0x80;
  }

  Result<int32_t> escape() {
    const size_t start = cursor_.offset() - 1;
    TETRAD_ASSIGN(RegexEscape read, read_escape(cursor_, false));
    if (const auto* assertion = std::get_if<RegexAssertion>(&read)) {
      return add({.kind = *assertion == RegexAssertion::begin ? Kind::begin : Kind::end});
    }
    if (auto* set = std::get_if<CodePointSet>(&read)) return add_set(std::move(*set));
    const char32_t c = std::get<char32_t>(read);
    CodePointSet set({{c, c}});
    if (set.empty()) return bad_pattern(start, "half of a surrogate pair is no character");
    return add_set(std::move(set));
  }

  /// One character of a class, or a set such as \d.
  Result<RegexEscape> class_member() {
    if (!cursor_.take("\\")) return cursor_.next();
    return read_escape(cursor_, true);
  }

  Result<int32_t> character_class(size_t start) {
    const bool inverted = cursor_.take("^");
    if (cursor_.peek() == ']') {
      return bad_pattern(start,
                         "[] and [^] mean different things to different readers; write \\] for the "
                         "character, [\\s\\S] for any");
    }
    std::vector<CodePointRange> ranges;
    while (!cursor_.take("]")) {
      if (cursor_.done()) return bad_pattern(start, "a class is not closed");
      if (cursor_.starts_with("[:")) {
        return bad_pattern(cursor_.offset(), "classes such as [:alpha:] are not known");
      }
      TETRAD_TRY(class_range(ranges));
    }
    CodePointSet set(std::move(ranges));
    return add_set(inverted ? set.complement() : std::move(set));
  }

  /// A member, or two with a - between them.
  Result<void> class_range(std::vector<CodePointRange>& ranges) {
    const size_t start = cursor_.offset();
    TETRAD_ASSIGN(RegexEscape low, class_member());
    const auto* low_character = std::get_if<char32_t>(&low);
    if (cursor_.peek() != '-' || cursor_.starts_with("-]")) {
      if (low_character != nullptr) {
        ranges.push_back({*low_character, *low_character});
      } else {
        const auto members = std::as_const(std::get<CodePointSet>(low)).ranges();
        ranges.insert(ranges.end(), members.begin(), members.end());
      }
      return {};
    }
    cursor_.take("-");
    if (cursor_.done()) return bad_pattern(start, "a class is not closed");
    TETRAD_ASSIGN(RegexEscape high, class_member());
    const auto* high_character = std::get_if<char32_t>(&high);
    if (low_character == nullptr || high_character == nullptr) {
      return bad_pattern(start, "a range in a class goes from one character to another");
    }
    if (*high_character < *low_character) {
      return bad_pattern(start, "a range in a class ends below its beginning");
    }
    ranges.push_back({*low_character, *high_character});
    return {};
  }

  PatternCursor cursor_;
  RegexAst ast_;
  std::unordered_map<CodePointSet, int32_t, RangesHash> set_numbers_;
  std::unordered_map<std::string_view, bool> names_;
  int depth_ = 0;
};

}  // namespace

Result<RegexAst> parse_regex_syntax(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return fail(ErrorCode::invalid_argument, "the pattern has {} bytes; at most {} are allowed",
                pattern.size(), kMaxPatternBytes);
  }
  if (const auto offset = find_invalid_utf8(pattern)) {
    return bad_pattern(*offset, "this is not valid UTF-8");
  }
  return RegexParser(pattern).parse();
}

}  // namespace tetrad::grammar
