#include "grammar/answer_constraint.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <span>

#include "grammar/token_matcher.h"

namespace tetrad::grammar {
namespace {

// What thinking leaves of an answer, if it is that long at all.
constexpr int64_t kBodyReserve = 256;

/// What all states of one constraint read.
struct SharedRules {
  const Tokenizer& tokenizer;
  AnswerRules rules;
};

class AnswerState final : public ConstraintState {
 public:
  explicit AnswerState(std::shared_ptr<const SharedRules> shared)
      : shared_(std::move(shared)), only_(shared_->tokenizer.vocab_size()) {
    if (rules().starts_in_reasoning) {
      phase_ = Phase::thinking;
    } else {
      begin_answer();
    }
  }

  Result<const TokenSet*> allowed(int64_t num_tokens_left) override {
    if (broken_) return tl::unexpected<Error>(*broken_);
    if (!reserve_) reserve_ = std::min(kBodyReserve, num_tokens_left / 4);
    switch (phase_) {
      case Phase::thinking:
        return allowed_thoughts(num_tokens_left);
      case Phase::free:
        return nullptr;
      case Phase::body:
        return allowed_body(num_tokens_left);
      case Phase::calls:
        // Nobody asked for a call, so none has to fit: the shortest one there is, perhaps of
        // another tool, is worse than one that is cut off, which the finish reason tells.
        return &matcher_->allowed(std::numeric_limits<int64_t>::max());
      case Phase::over:
        break;
    }
    return only_end();
  }

  void accept(TokenId id) override {
    const AnswerTags& tags = rules().tags;
    if (std::ranges::find(tags.end, id) != tags.end.end()) {
      phase_ = Phase::over;
      return;
    }
    switch (phase_) {
      case Phase::thinking:
        ++num_thoughts_;
        if (id == tags.think_end) begin_answer();
        if (id == tags.calls_begin && !rules().body) begin_calls();
        break;
      case Phase::free:
        if (id == tags.calls_begin) begin_calls();
        break;
      case Phase::body:
      case Phase::calls:
        // What is not allowed does not come; if it did, the next allowed() would tell.
        if (auto accepted = matcher_->accept(id); !accepted) broken_ = std::move(accepted.error());
        if (phase_ == Phase::calls && matcher_->can_end()) phase_ = Phase::free;
        break;
      case Phase::over:
        break;
    }
  }

 private:
  enum class Phase { thinking, free, body, calls, over };

  const AnswerRules& rules() const { return shared_->rules; }

  void begin_answer() {
    phase_ = rules().body ? Phase::body : Phase::free;
    if (rules().body) matcher_ = std::make_unique<TokenMatcher>(rules().body, shared_->tokenizer);
  }

  void begin_calls() {
    phase_ = rules().calls ? Phase::calls : Phase::free;
    if (rules().calls) matcher_ = std::make_unique<TokenMatcher>(rules().calls, shared_->tokenizer);
  }

  const TokenSet* allowed_thoughts(int64_t num_tokens_left) {
    const auto& budget = rules().thinking_token_budget;
    bool ends = budget && num_thoughts_ >= *budget;
    if (rules().body) {
      // </think>, the body and the end of the answer.
      const int64_t least = rules().body->grammar().least(rules().body->grammar().root) + 2;
      ends = ends || num_tokens_left <= std::max(least, reserve_.value_or(0));
    }
    const TokenId think_end = rules().tags.think_end;
    if (ends && think_end != AnswerTags::kNoToken) return only(std::span(&think_end, 1));
    return rules().body ? rules().tags.thoughts.get() : nullptr;
  }

  const TokenSet* allowed_body(int64_t num_tokens_left) {
    const TokenSet& tokens = matcher_->allowed(num_tokens_left - 1);
    if (!matcher_->can_end()) return &tokens;
    // Out of room: the end, now that it is allowed, is all that is.
    if (num_tokens_left <= 1) return only_end();
    only_ = tokens;
    for (const TokenId id : rules().tags.end)
      only_.insert(id);
    return &only_;
  }

  const TokenSet* only_end() { return only(rules().tags.end); }

  const TokenSet* only(std::span<const TokenId> ids) {
    only_.clear();
    for (const TokenId id : ids)
      only_.insert(id);
    return &only_;
  }

  const std::shared_ptr<const SharedRules> shared_;
  Phase phase_ = Phase::free;
  std::unique_ptr<TokenMatcher> matcher_;  // of body and calls
  std::optional<Error> broken_;
  int64_t num_thoughts_ = 0;
  std::optional<int64_t> reserve_;  // of the answer's tokens, for what follows the thinking
  TokenSet only_;
};

class AnswerConstraint final : public TokenConstraint {
 public:
  explicit AnswerConstraint(std::shared_ptr<const SharedRules> shared)
      : shared_(std::move(shared)) {}
  std::unique_ptr<ConstraintState> start() const override {
    return std::make_unique<AnswerState>(shared_);
  }

 private:
  std::shared_ptr<const SharedRules> shared_;
};

}  // namespace

AnswerTags AnswerTags::of(const Tokenizer& tokenizer, std::vector<TokenId> eos_token_ids) {
  const auto find = [&](std::string_view tag) {
    return tokenizer.find_added_token(tag).value_or(kNoToken);
  };
  std::erase_if(eos_token_ids, [&](TokenId id) { return id < 0 || id >= tokenizer.vocab_size(); });
  AnswerTags tags{.think_end = find("</think>"),
                  .calls_begin = find("<minimax:tool_call>"),
                  .calls_end = find("</minimax:tool_call>"),
                  .end = std::move(eos_token_ids),
                  .thoughts = nullptr};
  TokenSet thoughts(tokenizer.vocab_size());
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    const bool is_text = !tokenizer.token_bytes(id).empty() && !tokenizer.is_special(id);
    const bool leaves = id == tags.calls_begin || id == tags.calls_end ||
                        std::ranges::find(tags.end, id) != tags.end.end();
    if (is_text && !leaves) thoughts.insert(id);
  }
  tags.thoughts = std::make_shared<const TokenSet>(std::move(thoughts));
  return tags;
}

std::shared_ptr<const TokenConstraint> constrain_answer(const Tokenizer& tokenizer,
                                                        AnswerRules rules) {
  return std::make_shared<AnswerConstraint>(
      std::make_shared<const SharedRules>(SharedRules{tokenizer, std::move(rules)}));
}

}  // namespace tetrad::grammar
