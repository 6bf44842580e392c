#include <algorithm>

#include "chat/jinja/parser.h"

namespace tetrad::jinja {
namespace {

bool is_constant_name(std::string_view name) {
  return name == "true" || name == "True" || name == "false" || name == "False" || name == "none" ||
         name == "None";
}

}  // namespace

Result<Program> parse_template(std::string_view source) {
  TETRAD_ASSIGN(std::vector<Token> tokens, tokenize(source));
  return Parser(std::move(tokens)).parse();
}

Result<Program> Parser::parse() {
  TETRAD_ASSIGN(Body body, parse_body({}));
  if (!unknown_names_.empty()) {
    return syntax_error(unknown_names_.front().line, "{}", unknown_names_.front().message);
  }
  return Program{std::move(body), std::move(initially_undefined_)};
}

Result<Body> Parser::parse_body(std::initializer_list<std::string_view> end_tags) {
  Body body;
  for (;;) {
    const int start = line();
    switch (current().type) {
      case TokenType::data:
        body.push_back({start, Text{take().text}});
        break;
      case TokenType::variable_begin: {
        advance();
        Output output;
        TETRAD_ASSIGN(ExpressionPtr expression, parse_tuple());
        output.expressions.push_back(std::move(expression));
        TETRAD_TRY(expect(TokenType::variable_end));
        body.push_back({start, std::move(output)});
        break;
      }
      case TokenType::block_begin: {
        advance();
        if (std::any_of(end_tags.begin(), end_tags.end(),
                        [&](std::string_view tag) { return current().is_name(tag); })) {
          return body;
        }
        TETRAD_ASSIGN(Statement statement, parse_statement());
        TETRAD_TRY(expect(TokenType::block_end));
        body.push_back(std::move(statement));
        break;
      }
      default:
        if (end_tags.size() == 0) return body;
        return syntax_error(start, "the template ends before '{}'", *(end_tags.end() - 1));
    }
  }
}

Result<Body> Parser::parse_block(std::initializer_list<std::string_view> end_tags,
                                 std::string* end_tag) {
  skip_op(":");  // allowed by Jinja, for people used to Python
  TETRAD_TRY(expect(TokenType::block_end));
  TETRAD_ASSIGN(Body body, parse_body(end_tags));
  const Token tag = take();
  if (end_tag != nullptr) *end_tag = tag.text;
  return body;
}

Result<Statement> Parser::parse_statement() {
  const int start = line();
  if (nesting_ >= kMaxNesting) {
    return syntax_error(start, "brackets and blocks are nested more than {} deep", kMaxNesting);
  }
  TETRAD_ASSIGN(const std::string tag, expect_name("the name of a tag"));
  ++nesting_;
  auto node = parse_tag(tag);
  --nesting_;
  if (!node) return tl::unexpected<Error>(std::move(node.error()));
  return Statement{start, std::move(*node)};
}

Result<Statement::Node> Parser::parse_tag(const std::string& tag) {
  if (tag == "if") return parse_if();
  if (tag == "for") return parse_for();
  if (tag == "set") return parse_set();
  if (tag == "macro") return parse_macro();
  if (tag == "call") return parse_call_block();
  if (tag == "filter") return parse_filter_block();
  if (tag == "with") return parse_with();
  if (tag == "generation") return parse_generation();
  if (tag == "print") return parse_print();
  if (tag == "break" || tag == "continue") return parse_loop_control(tag);
  for (const std::string_view other :
       {"include", "import", "from", "extends", "block", "autoescape"}) {
    if (tag != other) continue;
    return fail(ErrorCode::unsupported,
                "chat template line {}: the tag '{}' is not available in chat templates", line(),
                tag);
  }
  return syntax_error(line(), "unknown or misplaced tag '{}'", tag);
}

Result<Statement::Node> Parser::parse_if() {
  const size_t mark = unknown_names_.size();
  If node;
  ++branches_;
  std::string tag = "elif";
  while (tag == "elif") {
    If::Branch branch;
    TETRAD_ASSIGN(branch.test, parse_tuple(CondExpr::not_allowed));
    TETRAD_ASSIGN(branch.body, parse_block({"elif", "else", "endif"}, &tag));
    node.branches.push_back(std::move(branch));
  }
  if (tag == "else") {
    If::Branch branch;
    TETRAD_ASSIGN(branch.body, parse_block({"endif"}));
    node.branches.push_back(std::move(branch));
  }
  --branches_;
  excuse_unknown_since(mark);
  return node;
}

Result<Statement::Node> Parser::parse_for() {
  For node;
  ++for_blocks_;
  TETRAD_ASSIGN(node.target, parse_target());
  if (!skip_name("in")) return unexpected("'in'");
  TETRAD_ASSIGN(node.iterable, parse_tuple(CondExpr::not_allowed));
  const size_t mark = unknown_names_.size();
  ++blocks_;
  if (skip_name("if")) {
    TETRAD_ASSIGN(node.filter, parse_expression());
  }
  if (current().is_name("recursive")) {
    return fail(ErrorCode::unsupported,
                "chat template line {}: recursive loops are not supported, use a macro", line());
  }
  std::string tag;
  ++loops_;
  TETRAD_ASSIGN(node.body, parse_block({"else", "endfor"}, &tag));
  --loops_;
  if (tag == "else") {
    TETRAD_ASSIGN(node.otherwise, parse_block({"endfor"}));
  }
  --blocks_;
  --for_blocks_;
  keep_unknown_since(mark);
  return node;
}

/// `name.attribute` of a namespace: only `set` can assign to that.
Result<Target> Parser::parse_set_target() {
  if (!(current().type == TokenType::name && ahead().is_op("."))) return parse_target();
  const int start = line();
  Target::NamespaceAttribute target;
  target.name = take().text;
  advance();
  TETRAD_ASSIGN(target.attribute, expect_name("the name of an attribute"));
  note_load(target.name);
  return Target{start, std::move(target)};
}

Result<Statement::Node> Parser::parse_set() {
  TETRAD_ASSIGN(Target target, parse_set_target());
  if (skip_op("=")) {
    TETRAD_ASSIGN(ExpressionPtr value, parse_tuple());
    note_store(target);
    return Set{std::move(target), std::move(value)};
  }
  const size_t mark = unknown_names_.size();
  note_store(target);
  SetBlock node;
  node.target = std::move(target);
  ++blocks_;
  if (skip_op("|")) {
    TETRAD_ASSIGN(node.filters, parse_filter_chain());
  }
  TETRAD_ASSIGN(node.body, parse_block({"endset"}));
  --blocks_;
  keep_unknown_since(mark);
  return node;
}

Result<std::vector<NamedCall>> Parser::parse_filter_chain() {
  std::vector<NamedCall> filters;
  do {
    TETRAD_ASSIGN(NamedCall filter, parse_filter());
    filters.push_back(std::move(filter));
  } while (skip_op("|"));
  return filters;
}

Result<void> Parser::parse_parameters(MacroDefinition& definition) {
  TETRAD_TRY(expect_op("("));
  while (!current().is_op(")")) {
    const int start = line();
    MacroDefinition::Parameter parameter;
    TETRAD_ASSIGN(parameter.name, expect_name("the name of a parameter"));
    if (is_constant_name(parameter.name)) {
      return syntax_error(start, "'{}' cannot be a parameter", parameter.name);
    }
    for (const auto& other : definition.parameters) {
      if (other.name == parameter.name) {
        return syntax_error(start, "the parameter '{}' appears twice", parameter.name);
      }
    }
    if (skip_op("=")) {
      TETRAD_ASSIGN(parameter.fallback, parse_expression());
    } else if (!definition.parameters.empty() && definition.parameters.back().fallback) {
      return syntax_error(start, "the parameter '{}' needs a default like the one before it",
                          parameter.name);
    }
    definition.parameters.push_back(std::move(parameter));
    if (!skip_op(",")) break;
  }
  return expect_op(")");
}

Result<void> Parser::parse_macro_body(MacroDefinition& definition, std::string_view end_tag) {
  const int loops_outside = std::exchange(loops_, 0);
  open_macros_.push_back(&definition);
  ++blocks_;
  TETRAD_ASSIGN(definition.body, parse_block({end_tag}));
  --blocks_;
  open_macros_.pop_back();
  loops_ = loops_outside;
  for (const auto& parameter : definition.parameters) {
    if (parameter.name == "varargs") definition.uses_varargs = false;
    if (parameter.name == "kwargs") definition.uses_kwargs = false;
    if (parameter.name != "caller") continue;
    if (definition.uses_caller && !parameter.fallback) {
      return syntax_error(line(), "a macro's parameter 'caller' needs a default");
    }
    definition.uses_caller = false;
  }
  return {};
}

Result<Statement::Node> Parser::parse_macro() {
  const size_t mark = unknown_names_.size();
  Macro node;
  const int start = line();
  TETRAD_ASSIGN(node.definition.name, expect_name("the name of the macro"));
  if (is_constant_name(node.definition.name)) {
    return syntax_error(start, "'{}' cannot be a macro", node.definition.name);
  }
  note_store(node.definition.name);
  ++blocks_;
  TETRAD_TRY(parse_parameters(node.definition));
  --blocks_;
  TETRAD_TRY(parse_macro_body(node.definition, "endmacro"));
  keep_unknown_since(mark);
  return node;
}

Result<Statement::Node> Parser::parse_call_block() {
  CallBlock node;
  if (current().is_op("(")) TETRAD_TRY(parse_parameters(node.caller));
  const int start = line();
  TETRAD_ASSIGN(node.call, parse_expression());
  if (!std::holds_alternative<Call>(node.call->node)) {
    return syntax_error(start, "a call block needs a call");
  }
  const size_t mark = unknown_names_.size();
  TETRAD_TRY(parse_macro_body(node.caller, "endcall"));
  keep_unknown_since(mark);
  return node;
}

Result<Statement::Node> Parser::parse_filter_block() {
  const size_t mark = unknown_names_.size();
  FilterBlock node;
  TETRAD_ASSIGN(node.filters, parse_filter_chain());
  ++blocks_;
  TETRAD_ASSIGN(node.body, parse_block({"endfilter"}));
  --blocks_;
  keep_unknown_since(mark);
  return node;
}

Result<Statement::Node> Parser::parse_with() {
  With node;
  while (current().type != TokenType::block_end) {
    if (!node.variables.empty()) TETRAD_TRY(expect_op(","));
    TETRAD_ASSIGN(Target target, parse_target());
    TETRAD_TRY(expect_op("="));
    TETRAD_ASSIGN(ExpressionPtr value, parse_expression());
    node.variables.emplace_back(std::move(target), std::move(value));
  }
  const size_t mark = unknown_names_.size();
  ++blocks_;
  TETRAD_ASSIGN(node.body, parse_block({"endwith"}));
  --blocks_;
  keep_unknown_since(mark);
  return node;
}

Result<Statement::Node> Parser::parse_generation() {
  const size_t mark = unknown_names_.size();
  const int loops_outside = std::exchange(loops_, 0);
  Generation node;
  ++blocks_;
  TETRAD_ASSIGN(node.body, parse_block({"endgeneration"}));
  --blocks_;
  loops_ = loops_outside;
  keep_unknown_since(mark);
  return node;
}

Result<Statement::Node> Parser::parse_print() {
  Output node;
  while (current().type != TokenType::block_end) {
    if (!node.expressions.empty()) TETRAD_TRY(expect_op(","));
    TETRAD_ASSIGN(ExpressionPtr expression, parse_expression());
    node.expressions.push_back(std::move(expression));
  }
  return node;
}

Result<Statement::Node> Parser::parse_loop_control(const std::string& tag) {
  if (loops_ == 0) return syntax_error(line(), "'{}' outside of a loop", tag);
  if (tag == "break") return Break{};
  return Continue{};
}

Result<Target> Parser::parse_variable() {
  const int start = line();
  TETRAD_ASSIGN(std::string name, expect_name("the name of a variable"));
  if (is_constant_name(name)) return syntax_error(start, "'{}' cannot be assigned to", name);
  if (name == "loop" && for_blocks_ > 0) {
    return syntax_error(start, "'loop' cannot be assigned to inside of a loop");
  }
  return Target{start, Target::Variable{std::move(name)}};
}

/// A name, or several targets in parentheses.
Result<Target> Parser::parse_target_item() {
  const int start = line();
  if (skip_op("(")) {
    if (++nesting_ > kMaxNesting) {
      return syntax_error(start, "brackets and blocks are nested more than {} deep", kMaxNesting);
    }
    TETRAD_ASSIGN(Target inside, parse_target());
    --nesting_;
    TETRAD_TRY(expect_op(")"));
    return inside;
  }
  return parse_variable();
}

Result<Target> Parser::parse_target() {
  const int start = line();
  Target::Unpacked unpacked;
  bool is_tuple = false;
  do {
    TETRAD_ASSIGN(Target target, parse_target_item());
    unpacked.targets.push_back(std::move(target));
    if (!skip_op(",")) break;
    is_tuple = true;
  } while (current().type == TokenType::name ? !current().is_name("in") : current().is_op("("));
  if (!is_tuple) return std::move(unpacked.targets.front());
  return Target{start, std::move(unpacked)};
}

void Parser::note_load(std::string_view name) {
  if (blocks_ == 0) top_level_names_.emplace(name);
  for (MacroDefinition* macro : open_macros_) {
    if (name == "caller") macro->uses_caller = true;
    if (name == "varargs") macro->uses_varargs = true;
    if (name == "kwargs") macro->uses_kwargs = true;
  }
}

void Parser::note_store(std::string_view name) {
  if (blocks_ > 0 || !top_level_names_.emplace(name).second) return;
  if (branches_ == 0) initially_undefined_.emplace_back(name);
}

void Parser::note_store(const Target& target) {
  if (const auto* variable = std::get_if<Target::Variable>(&target.kind)) {
    note_store(variable->name);
  } else if (const auto* unpacked = std::get_if<Target::Unpacked>(&target.kind)) {
    for (const Target& part : unpacked->targets)
      note_store(part);
  }
}

void Parser::excuse_unknown_since(size_t mark) {
  const auto begin = unknown_names_.begin() + static_cast<std::ptrdiff_t>(mark);
  unknown_names_.erase(std::remove_if(begin, unknown_names_.end(),
                                      [](const UnknownName& name) { return !name.is_final; }),
                       unknown_names_.end());
}

void Parser::keep_unknown_since(size_t mark) {
  std::for_each(unknown_names_.begin() + static_cast<std::ptrdiff_t>(mark), unknown_names_.end(),
                [](UnknownName& name) { name.is_final = true; });
}

}  // namespace tetrad::jinja
