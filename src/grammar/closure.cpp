#include "grammar/closure.h"

#include <algorithm>

#include "grammar/costs.h"

namespace tetrad::grammar {

Stacks Closure::begin() {
  reset();
  tasks_.push_back({kNoStack, store_.grammar().root, false});
  return take();
}

Stacks Closure::step(const Stacks& from, uint8_t byte) {
  reset();
  const Grammar& grammar = store_.grammar();
  for (const StackId stack : from) {
    if (stack == kNoStack) continue;
    Frame frame = store_.top(stack);
    const StackId below = store_.below(stack);
    const Node& node = grammar.node(frame.node);
    if (const auto* text = std::get_if<Text>(&node)) {
      frame.state = text->dfa->next(frame.state, byte);
      if (frame.state == ByteDfa::kDead) continue;
      if (text->dfa->goes_on(frame.state)) add(store_.push(below, frame));
      if (text->dfa->accepts(frame.state)) tasks_.push_back({below, kLeave, true});
    } else if (const auto* members = std::get_if<Members>(&node)) {
      frame.state = members->keys->next(frame.state, byte);
      if (frame.state != ByteDfa::kDead) key_state(below, frame, *members);
    }
  }
  return take();
}

Stacks Closure::step_special(const Stacks& from, TokenId id) {
  reset();
  for (const StackId stack : from) {
    if (stack == kNoStack) continue;
    const auto* special = std::get_if<Special>(&store_.grammar().node(store_.top(stack).node));
    if (special != nullptr && special->id == id) {
      tasks_.push_back({store_.below(stack), kLeave, true});
    }
  }
  return take();
}

void Closure::reset() {
  tasks_.clear();
  found_.clear();
  begun_.clear();
  left_.clear();
  entered_.clear();
}

Stacks Closure::take() {
  // First in, first out: what the byte has ended comes before what begins because of it.
  // NOLINTNEXTLINE(modernize-loop-convert): tasks make tasks
  for (size_t next = 0; next < tasks_.size(); ++next) {
    const Task task = tasks_[next];
    if (task.node == kLeave) {
      leave(task.stack, task.by_bytes);
    } else {
      enter(task.stack, task.node);
    }
  }
  std::ranges::sort(found_);
  found_.erase(std::ranges::unique(found_).begin(), found_.end());
  return std::move(found_);
}

void Closure::add(StackId stack) {
  if (found_.size() < limits_.max_stacks) found_.push_back(stack);
}

void Closure::enter(StackId below, NodeId id) {
  const Grammar& grammar = store_.grammar();
  if (!grammar.matches_something(id) || store_.depth(below) >= limits_.max_depth) return;
  const uint64_t key =
      static_cast<uint64_t>(static_cast<uint32_t>(below)) << 32 | static_cast<uint32_t>(id);
  if (!entered_.insert(key).second) return;
  const Node& node = grammar.node(id);
  if (const auto* text = std::get_if<Text>(&node)) {
    if (text->dfa->goes_on(ByteDfa::kStart)) {
      add(store_.push(below, {.node = id, .phase = Phase::text}));
    }
    if (text->dfa->accepts(ByteDfa::kStart)) tasks_.push_back({below, kLeave, false});
  } else if (std::holds_alternative<Special>(node)) {
    add(store_.push(below, {.node = id, .phase = Phase::special}));
  } else if (const auto* choice = std::get_if<Choice>(&node)) {
    for (const NodeId option : choice->options)
      tasks_.push_back({below, option, false});
  } else if (const auto* sequence = std::get_if<Sequence>(&node)) {
    const auto& parts = sequence->parts;
    if (parts.empty()) {
      tasks_.push_back({below, kLeave, false});
    } else if (parts.size() == 1) {  // nothing to come back for
      tasks_.push_back({below, parts.front(), false});
    } else {
      const StackId stack = store_.push(below, {.node = id, .phase = Phase::sequence, .state = 1});
      tasks_.push_back({stack, parts.front(), false});
    }
  } else if (const auto* list = std::get_if<List>(&node)) {
    tasks_.push_back({store_.push(below, {.node = id, .phase = Phase::open}), list->open, false});
  } else if (const auto* members = std::get_if<Members>(&node)) {
    tasks_.push_back(
        {store_.push(below, {.node = id, .phase = Phase::open}), members->open, false});
  }
}

/// The child of `stack` is done.
void Closure::leave(StackId stack, bool by_bytes) {
  if (stack == kNoStack) {
    add(kNoStack);
    return;
  }
  // An item of no bytes: the next one could be as empty, and so on for ever.
  if (!by_bytes && begun_.contains(stack)) return;
  if (!left_.insert(stack).second) return;
  const Frame frame = store_.top(stack);
  const StackId below = store_.below(stack);
  const Node& node = store_.grammar().node(frame.node);
  if (const auto* sequence = std::get_if<Sequence>(&node)) {
    const auto next = static_cast<size_t>(frame.state);
    const NodeId part = sequence->parts[next];
    if (next + 1 == sequence->parts.size()) {
      tasks_.push_back({below, part, false});
    } else {
      Frame moved = frame;
      ++moved.state;
      tasks_.push_back({store_.push(below, moved), part, false});
    }
  } else if (const auto* list = std::get_if<List>(&node)) {
    leave_list(stack, *list);
  } else if (const auto* members = std::get_if<Members>(&node)) {
    leave_members(stack, *members);
  }
}

void Closure::leave_list(StackId stack, const List& list) {
  Frame frame = store_.top(stack);
  const StackId below = store_.below(stack);
  if (frame.phase == Phase::separator) {
    begin_item(below, frame, list, frame.count);
    return;
  }
  int64_t count = frame.count;
  if (frame.phase == Phase::item) ++count;
  if (count >= list.min_items) tasks_.push_back({below, list.close, false});
  if (count >= list.max_items) return;
  // Beyond what it has to have, a list without an end looks the same whatever its length.
  if (list.max_items == kUnbounded) {
    count = std::min(count, std::max<int64_t>({list.min_items, std::ssize(list.prefix), 1}));
  }
  if (count == 0) {
    begin_item(below, frame, list, 0);
    return;
  }
  frame.phase = Phase::separator;
  frame.count = count;
  tasks_.push_back({store_.push(below, frame), list.separator, false});
}

void Closure::begin_item(StackId below, const Frame& frame, const List& list, int64_t count) {
  Frame item = frame;
  item.phase = Phase::item;
  item.count = count;
  const StackId stack = store_.push(below, item);
  begun_.insert(stack);
  const bool in_prefix = std::cmp_less(count, list.prefix.size());
  tasks_.push_back({stack, in_prefix ? list.prefix[static_cast<size_t>(count)] : list.rest, false});
}

void Closure::leave_members(StackId stack, const Members& members) {
  Frame frame = store_.top(stack);
  const StackId below = store_.below(stack);
  switch (frame.phase) {
    case Phase::open:
      after_member(below, frame, members);
      break;
    case Phase::between:
      frame.phase = Phase::value;
      tasks_.push_back({store_.push(below, frame),
                        members.kinds[static_cast<size_t>(frame.state)].value, false});
      break;
    case Phase::value:
      frame.phase = Phase::after;
      tasks_.push_back({store_.push(below, frame), members.after, false});
      break;
    case Phase::after: {
      const auto kind = static_cast<size_t>(frame.state);
      if (members.kinds[kind].once) {
        frame.seen = store_.with_kind(frame.seen, members.kinds.size(), kind);
      }
      ++frame.count;
      frame.state = 0;
      after_member(below, frame, members);
      break;
    }
    case Phase::separator:
      begin_key(below, frame);
      break;
    default:
      break;
  }
}

/// Behind the opening or a member: the object ends, or another member follows.
void Closure::after_member(StackId below, const Frame& frame, const Members& members) {
  Frame next = frame;
  const std::vector<uint64_t> seen = store_.kinds(frame.seen, members.kinds.size());
  const MembersView view(store_.grammar(), members, seen, frame.count);
  if (view.may_close()) tasks_.push_back({below, members.close, false});
  // Beyond what it has to have, an object without an end looks the same whatever its size.
  if (members.max_members == kUnbounded) {
    next.count = std::min(frame.count, std::max<int64_t>(members.min_members, 1));
  }
  if (next.count == 0) {
    begin_key(below, next);
    return;
  }
  next.phase = Phase::separator;
  const StackId stack = store_.push(below, next);
  // No member may come any more.
  if (store_.min_bytes(stack) >= kNoMatch) return;
  tasks_.push_back({stack, members.separator, false});
}

void Closure::begin_key(StackId below, const Frame& frame) {
  Frame key = frame;
  key.phase = Phase::key;
  key.state = ByteDfa::kStart;
  const auto& members = std::get<Members>(store_.grammar().node(frame.node));
  if (!members.keys->empty()) key_state(below, key, members);
}

/// A key has come as far as frame.state.
void Closure::key_state(StackId below, Frame frame, const Members& members) {
  const std::vector<uint64_t> seen = store_.kinds(frame.seen, members.kinds.size());
  const MembersView view(store_.grammar(), members, seen, frame.count);
  const auto& ahead = members.reach->states[static_cast<size_t>(frame.state)];
  const bool live = members.keys->goes_on(frame.state) &&
                    std::ranges::any_of(ahead, [&](const KeyReach::Label& label) {
                      return label.min_bytes > 0 && view.may_come(static_cast<size_t>(label.label));
                    });
  if (live) add(store_.push(below, frame));
  const int32_t label = members.keys->label(frame.state);
  if (label == ByteDfa::kNoLabel || !view.may_come(static_cast<size_t>(label))) return;
  frame.phase = Phase::between;
  frame.state = label;
  tasks_.push_back({store_.push(below, frame), members.between, false});
}

std::vector<TokenId> special_tokens(const StackStore& store, const Stacks& stacks) {
  std::vector<TokenId> ids;
  for (const StackId stack : stacks) {
    if (stack == kNoStack) continue;
    const auto* special = std::get_if<Special>(&store.grammar().node(store.top(stack).node));
    if (special != nullptr) ids.push_back(special->id);
  }
  return ids;
}

int64_t min_bytes(const StackStore& store, const Stacks& stacks) {
  int64_t least = kNoMatch;
  for (const StackId stack : stacks)
    least = std::min(least, store.min_bytes(stack));
  return least;
}

}  // namespace tetrad::grammar
