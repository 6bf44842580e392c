#include "engine/block_pool.h"

#include <numeric>

namespace tetrad {

BlockPool::BlockPool(int64_t num_blocks)
    : num_blocks_(num_blocks), free_(static_cast<size_t>(num_blocks)) {
  // Block 0 on top, so that a lone sequence walks memory forwards.
  std::iota(free_.rbegin(), free_.rend(), 0);
}

std::vector<int32_t> BlockPool::take(int64_t count) {
  const auto first = free_.end() - count;
  std::vector<int32_t> blocks(free_.rbegin(), std::make_reverse_iterator(first));
  free_.erase(first, free_.end());
  return blocks;
}

void BlockPool::give_back(std::vector<int32_t>& blocks) {
  free_.insert(free_.end(), blocks.rbegin(), blocks.rend());
  blocks.clear();
}

}  // namespace tetrad
