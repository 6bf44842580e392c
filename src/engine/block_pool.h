#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tetrad {

/// Who uses the blocks of the KV cache, and in which order the unused ones are given out.
///
/// A block is used by one or more sequences, or it stands in the queue of unused blocks. There it
/// may still hold keys and values that somebody can find again (PrefixIndex), so such blocks are
/// given out last, the one unused longest first. The engine's thread alone uses this.
class BlockPool {
 public:
  explicit BlockPool(int64_t num_blocks);

  int64_t num_blocks() const { return static_cast<int64_t>(users_.size()); }
  int64_t num_unused() const { return num_unused_; }
  int64_t num_users(int32_t block) const { return users_[index(block)]; }

  /// An unused block, which now has one user; the caller has checked num_unused().
  int32_t take();
  /// One more user, whether the block had any or not.
  void share(int32_t block);
  /// One user fewer. A block that nobody uses any more joins the queue: at its end if what it holds
  /// is worth keeping, in front of everything if not.
  void release(int32_t block, bool worth_keeping);

 private:
  /// The queue is a ring through an extra element behind the blocks, so that a block in its middle
  /// can be taken out when somebody finds its content again.
  struct Link {
    int32_t previous;
    int32_t next;
  };
  static size_t index(int32_t block) { return static_cast<size_t>(block); }
  void insert_between(int32_t previous, int32_t block, int32_t next);
  void unlink(int32_t block);

  std::vector<int32_t> users_;
  std::vector<Link> links_;
  int64_t num_unused_;
  int32_t ring_;  // the extra element
};

}  // namespace tetrad
