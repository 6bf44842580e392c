#include "api/constraint_compiler.h"

#include <algorithm>
#include <utility>

#include "grammar/automaton.h"
#include "grammar/ebnf.h"
#include "grammar/json_schema.h"
#include "grammar/tool_call_grammar.h"

namespace tetrad::api {
namespace {

using grammar::Builder;
using grammar::NodeId;
using Kind = StructuredOutput::Kind;

// Each may hold some 20 MB of masks and places.
constexpr size_t kMaxRemembered = 16;
constexpr size_t kMaxKeyBytes = 4 << 20;

Error at_field(Error error, std::string_view param) {
  if (error.param.empty()) error.param = param;
  if (!error.message.starts_with('"')) {
    error.message = fmt::format("\"{}\": {}", error.param, error.message);
  }
  return error;
}

/// Any character takes a dozen states in bytes.
constexpr grammar::AutomatonLimits kByteLimits{.max_states = 200'000};

Result<NodeId> text_of(Builder& builder, const grammar::Automaton& automaton) {
  if (automaton.empty()) return builder.never();
  TETRAD_ASSIGN(grammar::ByteDfa dfa, encode(automaton, grammar::Encoding::utf8, kByteLimits));
  return builder.text(std::make_shared<const grammar::ByteDfa>(std::move(dfa)));
}

Result<NodeId> add_output(Builder& builder, const StructuredOutput& output) {
  switch (output.kind) {
    case Kind::json_object:
      return grammar::add_any_json_object(builder);
    case Kind::json_schema:
      return grammar::add_json_schema(builder, output.schema, output.param);
    case Kind::regex: {
      TETRAD_ASSIGN(const grammar::Automaton automaton,
                    grammar::parse_regex(output.text, grammar::RegexMatch::whole, {}));
      return text_of(builder, automaton);
    }
    case Kind::grammar:
      return grammar::add_ebnf(builder, output.text);
    case Kind::choice: {
      const std::vector<std::string_view> choices(output.choices.begin(), output.choices.end());
      return text_of(builder, grammar::Automaton::any_of(choices));
    }
    case Kind::none:
      break;
  }
  return builder.never();
}

/// The calls of a request; `tags` with the beginning where it is not there yet.
grammar::ToolCallGrammar call_grammar(const AnswerDemands& demands, std::optional<TokenId> begin,
                                      TokenId end) {
  grammar::ToolCallGrammar calls{
      .tools = {}, .begin = begin, .end = end, .parallel = demands.parallel_tool_calls};
  for (const ToolDefinition& tool : *demands.tools) {
    if (demands.tool_choice.mode == ToolChoice::Mode::named &&
        tool.name != demands.tool_choice.name) {
      continue;
    }
    calls.tools.push_back({.name = tool.name,
                           .parameters = tool.parameters,
                           .strict = tool.strict,
                           .param = tool.param});
  }
  return calls;
}

std::string key_of_output(const StructuredOutput& output) {
  std::string key = fmt::format("{}|", static_cast<int>(output.kind));
  if (output.kind == Kind::json_schema) key += to_json_text(output.schema);
  if (output.kind == Kind::choice) {
    key += to_json_text(json::array(output.choices.begin(), output.choices.end()));
  }
  return key + output.text;
}

std::string key_of_tools(const AnswerDemands& demands) {
  if (!demands.tools) return "";
  std::string key = fmt::format("|{}|{}|{}", static_cast<int>(demands.tool_choice.mode),
                                demands.tool_choice.name, demands.parallel_tool_calls);
  for (const ToolDefinition& tool : *demands.tools) {
    key += to_json_text(json::array{json::value(tool.name), json::value(tool.parameters),
                                    json::value(tool.strict)});
  }
  return key;
}

}  // namespace

ConstraintCompiler::ConstraintCompiler(const Tokenizer& tokenizer,
                                       std::vector<TokenId> eos_token_ids)
    : tokenizer_(tokenizer), tags_(grammar::AnswerTags::of(tokenizer, std::move(eos_token_ids))) {}

Result<std::shared_ptr<const TokenConstraint>> ConstraintCompiler::compile(
    const AnswerDemands& demands) {
  grammar::AnswerRules rules{.tags = tags_,
                             .starts_in_reasoning = demands.starts_in_reasoning,
                             .thinking_token_budget = demands.thinking_token_budget};
  if (demands.has_form()) {
    TETRAD_ASSIGN(rules.body, body(demands));
  } else if (demands.tools && !demands.tools->empty()) {
    TETRAD_ASSIGN(rules.calls, calls(demands));
  }
  const bool has_budget = demands.starts_in_reasoning && demands.thinking_token_budget;
  if (!rules.body && !rules.calls && !has_budget) return nullptr;
  return grammar::constrain_answer(tokenizer_, std::move(rules));
}

/// The whole content: the form that is asked for, or calls where they may come instead.
Result<ConstraintCompiler::Masks> ConstraintCompiler::body(const AnswerDemands& demands) {
  const bool may_call = demands.tools && !demands.tools->empty() &&
                        tags_.calls_begin != grammar::AnswerTags::kNoToken;
  if (demands.tool_choice.forces_call() && !may_call) {
    return fail_param("tool_choice", "this model has no tokens for tool calls; use \"auto\"");
  }
  const bool has_output = demands.output.kind != Kind::none && !demands.tool_choice.forces_call();
  std::string key = demands.is_chat ? "chat" : "text";
  if (has_output) key += key_of_output(demands.output);
  if (may_call) key += key_of_tools(demands);
  return remembered(
             std::move(key),
             [&](Builder& builder) -> Result<NodeId> {
               std::vector<NodeId> options;
               if (has_output) {
                 TETRAD_ASSIGN(const NodeId output,
                               add_output(builder, demands.output).map_error([&](Error error) {
                                 return at_field(std::move(error), demands.output.param);
                               }));
                 options.push_back(output);
               }
               if (may_call) {
                 TETRAD_ASSIGN(const NodeId calls,
                               add_tool_calls(builder, call_grammar(demands, tags_.calls_begin,
                                                                    tags_.calls_end))
                                   .map_error([](Error error) {
                                     return at_field(std::move(error), "tools");
                                   }));
                 options.push_back(calls);
               }
               const NodeId content = builder.choice(std::move(options));
               if (!demands.is_chat) return content;
               // As the model was trained: two behind its thinking, a third before a call.
               return builder.sequence({builder.repeat(builder.literal("\n"), 0, 3), content});
             })
      .map_error([&](Error error) {
        return at_field(std::move(error), has_output ? demands.output.param : "tools");
      });
}

/// What follows a tag that the model has chosen to write.
Result<ConstraintCompiler::Masks> ConstraintCompiler::calls(const AnswerDemands& demands) {
  if (tags_.calls_begin == grammar::AnswerTags::kNoToken) return nullptr;
  return remembered("calls" + key_of_tools(demands),
                    [&](Builder& builder) {
                      return add_tool_calls(builder,
                                            call_grammar(demands, std::nullopt, tags_.calls_end));
                    })
      .map_error([](Error error) { return at_field(std::move(error), "tools"); });
}

template <class Compile>
Result<ConstraintCompiler::Masks> ConstraintCompiler::remembered(std::string key,
                                                                 const Compile& compile) {
  {
    const std::scoped_lock lock(mutex_);
    if (const auto known = by_key_.find(key); known != by_key_.end()) {
      recent_.splice(recent_.begin(), recent_, known->second);
      return known->second->masks;
    }
  }
  Builder builder;
  TETRAD_ASSIGN(const NodeId root, compile(builder));
  TETRAD_ASSIGN(grammar::Grammar grammar, std::move(builder).finish(root));
  auto masks = std::make_shared<grammar::MaskCache>(
      std::make_shared<const grammar::Grammar>(std::move(grammar)), trie());
  if (key.size() > kMaxKeyBytes) return masks;
  const std::scoped_lock lock(mutex_);
  if (by_key_.contains(key)) return masks;  // somebody was faster
  recent_.push_front({key, masks});
  by_key_.emplace(std::move(key), recent_.begin());
  if (recent_.size() > kMaxRemembered) {
    by_key_.erase(recent_.back().key);
    recent_.pop_back();
  }
  return masks;
}

/// Takes a moment, so it waits for the first request that needs it.
std::shared_ptr<const grammar::TokenTrie> ConstraintCompiler::trie() {
  std::call_once(trie_built_,
                 [this] { trie_ = std::make_shared<const grammar::TokenTrie>(tokenizer_); });
  return trie_;
}

}  // namespace tetrad::api
