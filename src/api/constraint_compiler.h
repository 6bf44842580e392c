#pragma once

// From what a request demands of its answer's form to a constraint on its tokens.

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/structured_output.h"
#include "api/tool_fields.h"
#include "chat/tool_definition.h"
#include "grammar/answer_constraint.h"
#include "text/tokenizer.h"

namespace tetrad::api {

/// What one request demands.
struct AnswerDemands {
  StructuredOutput output;
  ToolDefinitions tools;  // that may be called; null: none
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;
  std::optional<int64_t> thinking_token_budget;
  bool starts_in_reasoning = false;
  /// The answer is one to a chat, whose content models begin with line breaks.
  bool is_chat = false;

  /// Whether the answer has to keep to a grammar from the end of its thinking to its own.
  bool has_form() const {
    return output.kind != StructuredOutput::Kind::none || (tools && tool_choice.forces_call());
  }
};

/// Thread-safe. Compiling takes up to a second: not for the engine's thread.
class ConstraintCompiler {
 public:
  /// The tokenizer must outlive the compiler and its constraints.
  ConstraintCompiler(const Tokenizer& tokenizer, std::vector<TokenId> eos_token_ids);

  /// Null where nothing is demanded. Errors name the field that cannot be kept.
  Result<std::shared_ptr<const TokenConstraint>> compile(const AnswerDemands& demands);

 private:
  using Masks = std::shared_ptr<grammar::MaskCache>;

  Result<Masks> body(const AnswerDemands& demands);
  Result<Masks> calls(const AnswerDemands& demands);
  template <class Compile>
  Result<Masks> remembered(std::string key, const Compile& compile);
  std::shared_ptr<const grammar::TokenTrie> trie();

  const Tokenizer& tokenizer_;
  const grammar::AnswerTags tags_;

  std::once_flag trie_built_;
  std::shared_ptr<const grammar::TokenTrie> trie_;

  // Grammars of the last requests, the last one first: agents send the same tools again and again.
  struct Remembered {
    std::string key;
    Masks masks;
  };
  std::mutex mutex_;
  std::list<Remembered> recent_;
  std::unordered_map<std::string, std::list<Remembered>::iterator> by_key_;
};

}  // namespace tetrad::api
