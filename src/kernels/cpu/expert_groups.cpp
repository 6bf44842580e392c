#include "kernels/cpu/expert_groups.h"

namespace tetrad {

void ExpertGroups::build(const Routing& routing, int64_t num_experts) {
  next_slot_.assign(static_cast<size_t>(num_experts), 0);
  for (const int32_t expert : routing.expert_ids)
    ++next_slot_[static_cast<size_t>(expert)];
  groups_.clear();
  int64_t begin = 0;
  for (int64_t expert = 0; expert < num_experts; ++expert) {
    int64_t& next = next_slot_[static_cast<size_t>(expert)];
    const int64_t count = next;
    next = begin;
    if (count > 0) groups_.push_back({expert, begin, begin + count});
    begin += count;
  }
  tokens_.resize(routing.expert_ids.size());
  slots_.resize(routing.expert_ids.size());
  for (size_t pair = 0; pair < routing.expert_ids.size(); ++pair) {
    const int64_t slot = next_slot_[static_cast<size_t>(routing.expert_ids[pair])]++;
    slots_[pair] = slot;
    tokens_[static_cast<size_t>(slot)] = static_cast<int64_t>(pair) / routing.num_experts_per_tok;
  }
}

}  // namespace tetrad
