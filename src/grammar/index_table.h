#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tetrad::grammar {

/// Finds things that are kept elsewhere, under numbers counted from 0, by their hash. For millions
/// of small things: a number takes 16 to 32 bytes, and no hash is computed twice.
class IndexTable {
 public:
  /// The number for which `equal` holds, of those whose hash this is; else `next`, which is added.
  template <class Equal>
  int32_t find_or_add(uint64_t hash, int32_t next, Equal equal) {
    if (2 * (count_ + 1) > slots_.size()) grow();
    size_t at = place(hash);
    for (; slots_[at].number >= 0; at = (at + 1) & (slots_.size() - 1))
      if (slots_[at].hash == hash && equal(slots_[at].number)) return slots_[at].number;
    slots_[at] = {hash, next};
    ++count_;
    return next;
  }

 private:
  struct Slot {
    uint64_t hash = 0;
    int32_t number = -1;
  };

  size_t place(uint64_t hash) const {
    return (hash * 0x9E3779B97F4A7C15 >> 20) & (slots_.size() - 1);
  }

  void grow() {
    std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(2 * slots_.size()));
    for (const Slot& slot : old) {
      if (slot.number < 0) continue;
      size_t at = place(slot.hash);
      while (slots_[at].number >= 0)
        at = (at + 1) & (slots_.size() - 1);
      slots_[at] = slot;
    }
  }

  std::vector<Slot> slots_ = std::vector<Slot>(64);
  size_t count_ = 0;
};

/// A hash grown value by value.
inline void add_to_hash(uint64_t& hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15;
  hash ^= hash >> 29;
}

}  // namespace tetrad::grammar
