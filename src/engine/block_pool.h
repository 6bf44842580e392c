#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tetrad {

/// Hands out the blocks of the KV cache. The engine's thread alone uses it.
class BlockPool {
 public:
  explicit BlockPool(int64_t num_blocks);

  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_blocks() const { return num_blocks_; }

  /// `count` blocks; the caller has checked that num_free() suffices.
  std::vector<int32_t> take(int64_t count);
  void give_back(std::vector<int32_t>& blocks);

 private:
  int64_t num_blocks_;
  std::vector<int32_t> free_;  // a stack: the block used last is the likeliest to be in cache
};

}  // namespace tetrad
