#include "grammar/ebnf.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "text/utf8.h"

namespace tetrad::grammar {
namespace {

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-';
}

struct Rule {
  NodeId node = 0;
  bool defined = false;
  int64_t first_line = 1;  // where it was first named
};

class EbnfParser {
 public:
  EbnfParser(Builder& builder, std::string_view text, const EbnfLimits& limits)
      : builder_(builder), text_(text), limits_(limits) {}

  Result<NodeId> parse() {
    if (text_.size() > limits_.max_bytes) {
      return fail(ErrorCode::invalid_argument, "the grammar has {} bytes and may have {}",
                  text_.size(), limits_.max_bytes);
    }
    if (const auto offset = find_invalid_utf8(text_)) {
      return fail(ErrorCode::invalid_argument, "the grammar is not UTF-8 at byte {}", *offset);
    }
    skip_space();
    while (!at_end())
      TETRAD_TRY(parse_rule());
    for (const auto& [name, rule] : rules_) {
      if (!rule.defined) {
        return fail(ErrorCode::invalid_argument, "line {}: there is no rule \"{}\"",
                    rule.first_line, name);
      }
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) {
      return fail(ErrorCode::invalid_argument, "the grammar has no rule \"root\"");
    }
    return root->second.node;
  }

 private:
  template <class... Args>
  tl::unexpected<Error> wrong(fmt::format_string<Args...> format, Args&&... args) {
    return fail(ErrorCode::invalid_argument, "line {}: {}", line(),
                fmt::format(format, std::forward<Args>(args)...));
  }
  /// Of next_, counted on from where it was asked for last.
  int64_t line() {
    if (counted_ > next_) std::tie(counted_, line_) = std::pair(size_t{0}, int64_t{1});
    line_ += std::ranges::count(text_.substr(counted_, next_ - counted_), '\n');
    counted_ = next_;
    return line_;
  }

  bool at_end() const { return next_ >= text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[next_]; }
  bool take(std::string_view word) {
    if (!text_.substr(next_).starts_with(word)) return false;
    next_ += word.size();
    return true;
  }
  void skip_space() {
    while (!at_end()) {
      if (peek() == '#') {
        next_ = std::min(text_.find('\n', next_), text_.size());
      } else if (std::string_view(" \t\r\n").find(peek()) != std::string_view::npos) {
        ++next_;
      } else {
        return;
      }
    }
  }
  std::string_view take_name() {
    const size_t begin = next_;
    while (!at_end() && is_name_char(peek()))
      ++next_;
    return text_.substr(begin, next_ - begin);
  }
  /// Whether a rule's definition begins here, which ends the one before.
  bool at_definition() {
    const size_t here = next_;
    const bool named = !take_name().empty();
    skip_space();
    const bool found = named && text_.substr(next_).starts_with("::=");
    next_ = here;
    return found;
  }

  Rule& rule(std::string_view name) {
    const auto [it, fresh] = rules_.try_emplace(std::string(name));
    if (fresh) it->second = {.node = builder_.declare(), .first_line = line()};
    return it->second;
  }

  Result<void> parse_rule() {
    const std::string_view name = take_name();
    if (name.empty()) return wrong("a rule's name is expected, as in: root ::= \"yes\" | \"no\"");
    Rule& defined = rule(name);
    if (defined.defined) return wrong("the rule \"{}\" is there already", name);
    defined.defined = true;
    skip_space();
    if (!take("::=")) return wrong("\"::=\" is expected behind \"{}\"", name);
    skip_space();
    TETRAD_ASSIGN(const NodeId node, parse_choice(0));
    builder_.define(defined.node, node);
    if (!at_end() && !at_definition()) return wrong("'{}' is not expected here", peek());
    return {};
  }

  Result<NodeId> parse_choice(int depth) {
    if (depth > limits_.max_depth) {
      return wrong("parentheses are nested deeper than {}", limits_.max_depth);
    }
    std::vector<NodeId> options;
    do {
      skip_space();
      TETRAD_ASSIGN(const NodeId option, parse_sequence(depth));
      options.push_back(option);
    } while (take("|"));
    return options.size() == 1 ? options.front() : builder_.choice(std::move(options));
  }

  Result<NodeId> parse_sequence(int depth) {
    std::vector<NodeId> parts;
    while (!at_end() && peek() != '|' && peek() != ')' && !at_definition()) {
      TETRAD_ASSIGN(NodeId part, parse_item(depth));
      TETRAD_ASSIGN(part, parse_repetition(part));
      parts.push_back(part);
      if (builder_.is_overfull()) return wrong("the grammar has too many parts");
      skip_space();
    }
    return builder_.sequence(std::move(parts));
  }

  Result<NodeId> parse_item(int depth) {
    switch (peek()) {
      case '"':
        return parse_literal();
      case '[':
        return parse_class();
      case '.':
        ++next_;
        return any_character();
      case '(': {
        ++next_;
        TETRAD_ASSIGN(const NodeId group, parse_choice(depth + 1));
        if (!take(")")) return wrong("a \")\" is missing");
        return group;
      }
      default:
        break;
    }
    const std::string_view name = take_name();
    if (name.empty()) return wrong("'{}' is not expected here", peek());
    return rule(name).node;
  }

  Result<NodeId> parse_repetition(NodeId node) {
    skip_space();
    if (take("*")) return builder_.repeat(node, 0, kUnbounded);
    if (take("+")) return builder_.repeat(node, 1, kUnbounded);
    if (take("?")) return builder_.optional(node);
    if (!take("{")) return node;
    TETRAD_ASSIGN(const std::optional<int64_t> min, take_number());
    std::optional<int64_t> max = min;
    skip_space();
    if (take(",")) {
      TETRAD_ASSIGN(max, take_number());
    } else if (!min) {
      return wrong("a number is expected behind \"{{\"");
    }
    skip_space();
    if (!take("}")) return wrong("a \"}}\" is missing");
    const int64_t least = min.value_or(0);
    const int64_t most = max.value_or(kUnbounded);
    if (least > most) return wrong("{{{},{}}} is no range", least, most);
    return builder_.repeat(node, least, most);
  }

  Result<std::optional<int64_t>> take_number() {
    skip_space();
    int64_t number = 0;
    const char* begin = text_.data() + next_;
    const auto [end, ec] = std::from_chars(begin, text_.data() + text_.size(), number);
    if (end == begin) return std::nullopt;
    if (ec != std::errc() || number < 0 || number > limits_.max_repetitions) {
      return wrong("more than {} repetitions", limits_.max_repetitions);
    }
    next_ += static_cast<size_t>(end - begin);
    return number;
  }

  /// The text up to the closing mark, with `next_` behind it.
  Result<std::string_view> take_quoted(char close) {
    const size_t begin = ++next_;
    while (!at_end() && peek() != close && peek() != '\n')
      next_ += peek() == '\\' ? 2 : 1;
    if (at_end() || peek() != close) {
      next_ = std::min(next_, text_.size());
      return wrong("a '{}' is missing", close);
    }
    return text_.substr(begin, next_++ - begin);
  }

  /// As a regular expression it has the same escapes.
  Result<NodeId> parse_literal() {
    TETRAD_ASSIGN(const std::string_view quoted, take_quoted('"'));
    if (quoted.find('\\') == std::string_view::npos) return builder_.literal(quoted);
    std::string pattern;
    for (size_t i = 0; i < quoted.size(); ++i) {
      const char c = quoted[i];
      if (c == '\\' && i + 1 < quoted.size()) {
        const char escaped = quoted[++i];
        if (escaped != '"' && escaped != '\'') pattern += '\\';
        pattern += escaped;
      } else {
        if (std::string_view("^$.*+?()[]{}|/").find(c) != std::string_view::npos) pattern += '\\';
        pattern += c;
      }
    }
    return regular(pattern);
  }

  Result<NodeId> parse_class() {
    TETRAD_ASSIGN(const std::string_view inside, take_quoted(']'));
    return regular(fmt::format("[{}]", inside));
  }

  Result<NodeId> regular(std::string_view pattern) {
    if (const auto known = texts_.find(pattern); known != texts_.end()) return known->second;
    auto automaton = parse_regex(pattern, RegexMatch::whole, limits_.automata);
    if (!automaton) return wrong("{}", automaton.error().message);
    TETRAD_ASSIGN(ByteDfa dfa, encode(*automaton, Encoding::utf8, limits_.automata));
    const NodeId node = builder_.text(std::make_shared<const ByteDfa>(std::move(dfa)));
    texts_.emplace(pattern, node);
    return node;
  }

  Result<NodeId> any_character() { return regular("[\\s\\S]"); }

  Builder& builder_;
  std::string_view text_;
  const EbnfLimits limits_;
  size_t next_ = 0;
  size_t counted_ = 0;  // line_ is the line of this byte
  int64_t line_ = 1;
  std::map<std::string, Rule, std::less<>> rules_;
  std::map<std::string, NodeId, std::less<>> texts_;  // by regular expression
};

}  // namespace

Result<NodeId> add_ebnf(Builder& builder, std::string_view text, EbnfLimits limits) {
  return EbnfParser(builder, text, limits).parse();
}

}  // namespace tetrad::grammar
