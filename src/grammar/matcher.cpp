#include "grammar/matcher.h"

#include <algorithm>

#include "grammar/stack_copy.h"

namespace tetrad::grammar {
namespace {

// Stacks of places long left behind; then those still in use are copied into a fresh store.
constexpr size_t kMaxKeptStacks = 16'384;

}  // namespace

Matcher::Matcher(const Grammar& grammar) : store_(grammar), stacks_(Closure(store_).begin()) {}

bool Matcher::move_to(Stacks stacks) {
  if (stacks.empty()) return false;
  stacks_ = std::move(stacks);
  if (store_.size() > kMaxKeptStacks) forget_the_past();
  return true;
}

bool Matcher::accept(std::string_view bytes) {
  Closure closure(store_);
  Stacks stacks = stacks_;
  for (const char c : bytes)
    stacks = closure.step(stacks, static_cast<uint8_t>(c));
  return move_to(std::move(stacks));
}

bool Matcher::accept_special(TokenId id) {
  return move_to(Closure(store_).step_special(stacks_, id));
}

bool Matcher::can_end() const {
  return !stacks_.empty() && stacks_.front() == kNoStack;
}

int32_t Matcher::depth() const {
  int32_t deepest = 0;
  for (const StackId stack : stacks_)
    deepest = std::max(deepest, store_.depth(stack));
  return deepest;
}

void Matcher::forget_the_past() {
  StackStore fresh(store_.grammar());
  stacks_ = StackCopy(store_, fresh).exact(stacks_);
  store_ = std::move(fresh);
}

}  // namespace tetrad::grammar
