#pragma once

// Places in shared memory that some warps of a block fill and others empty, one after the other and
// round again. Barriers that count arrivals (mbarrier) say which are full and which are empty, so
// that nobody waits for more than he needs.

#include "gpu/warpgroup.h"

namespace tetrad::gpu {

/// A block that is fed: two groups of four warps that multiply, and four warps that feed them.
struct FedBlock {
  static constexpr uint32_t kGroups = 2;
  static constexpr uint32_t kGroupThreads = 128;
  static constexpr uint32_t kMultiplyThreads = kGroups * kGroupThreads;
  static constexpr uint32_t kMultiplyWarps = kMultiplyThreads / 32;
  static constexpr uint32_t kThreads = kMultiplyThreads + kGroupThreads;
};

constexpr uint32_t emptied_places_bytes(uint32_t places) {
  return places * 8;
}
constexpr uint32_t fed_ring_bytes(uint32_t places) {
  return 2 * emptied_places_bytes(places);
}

namespace TETRAD_MACHINE {

#if TETRAD_HAS_WARPGROUPS

/// Where in a ring someone is.
template <uint32_t kPlaces>
struct RingPlace {
  uint32_t index = 0;
  uint32_t parity = 0;  // of the times that the ring was gone round
  TETRAD_DEVICE void next() {
    if (++index < kPlaces) return;
    index = 0;
    parity ^= 1;
  }
};

/// Places that the warps that multiply empty: all that is known of those which are full when
/// another ring's are.
template <uint32_t kPlaces>
class EmptiedPlaces {
 public:
  using Place = RingPlace<kPlaces>;
  /// `arrivals`: emptied_places_bytes(kPlaces) of shared memory.
  TETRAD_DEVICE explicit EmptiedPlaces(char* arrivals)
      : empty_(reinterpret_cast<uint64_t*>(arrivals)) {}
  /// By one thread; a sync_block() must follow.
  TETRAD_DEVICE void init() const {
    TETRAD_NO_UNROLL
    for (uint32_t index = 0; index < kPlaces; ++index)
      init_arrivals_of(empty_ + index, FedBlock::kMultiplyWarps);
  }
  TETRAD_DEVICE void wait_until_empty(const Place& place) const {
    wait_for_arrival(empty_ + place.index, place.parity ^ 1);
  }
  /// By all warps that multiply.
  TETRAD_DEVICE void say_empty(uint32_t index) const {
    sync_warp();
    if (lane() == 0) arrive(empty_ + index);
  }

 private:
  uint64_t* empty_;
};

/// Filled by the threads that feed, emptied by the warps that multiply. A place is full after so
/// many arrivals.
template <uint32_t kPlaces, uint32_t kArrivals>
class FilledPlaces : public EmptiedPlaces<kPlaces> {
 public:
  using Place = RingPlace<kPlaces>;
  /// `arrivals`: fed_ring_bytes(kPlaces) of shared memory.
  TETRAD_DEVICE explicit FilledPlaces(char* arrivals)
      : EmptiedPlaces<kPlaces>(arrivals + emptied_places_bytes(kPlaces)),
        full_(reinterpret_cast<uint64_t*>(arrivals)) {}
  /// By one thread; a sync_block() must follow.
  TETRAD_DEVICE void init() const {
    EmptiedPlaces<kPlaces>::init();
    TETRAD_NO_UNROLL
    for (uint32_t index = 0; index < kPlaces; ++index)
      init_arrivals_of(full_ + index, kArrivals);
  }
  /// If it is, all is there as after wait_until_full(); perhaps not yet although it is.
  TETRAD_DEVICE bool is_full(const Place& place) const {
    return has_arrived(full_ + place.index, place.parity);
  }
  TETRAD_DEVICE void wait_until_full(const Place& place) const {
    wait_for_arrival(full_ + place.index, place.parity);
  }

 protected:
  uint64_t* full_;
};

/// What is in a place was written by those who feed, or has been waited for by them.
template <uint32_t kPlaces>
class FedRing : public FilledPlaces<kPlaces, FedBlock::kGroupThreads> {
 public:
  using FilledPlaces<kPlaces, FedBlock::kGroupThreads>::FilledPlaces;
  /// By all who feed, each when what it wrote or copied is there.
  TETRAD_DEVICE void say_full(uint32_t index) const {
    show_to_warpgroups();
    arrive(this->full_ + index);
  }
};

/// By copies, and by a lane of each warp.
inline constexpr uint32_t kCopiedArrivals = FedBlock::kGroupThreads + FedBlock::kGroupThreads / 32;

/// What is in a place is copied there, and those who feed do not wait for it: the copies say
/// themselves that they have arrived, and a lane of each warp says that they have been asked for.
/// Between wait_until_full(), or is_full(), and products those who multiply must call
/// show_to_warpgroups().
template <uint32_t kPlaces>
class CopiedRing : public FilledPlaces<kPlaces, kCopiedArrivals> {
 public:
  using FilledPlaces<kPlaces, kCopiedArrivals>::FilledPlaces;
  /// By all who feed: full once what each has begun to copy is there. What they wrote themselves
  /// before is there, too.
  TETRAD_DEVICE void say_asked(uint32_t index) const {
    arrive_with_copies(this->full_ + index);
    sync_warp();
    if (lane() == 0) arrive(this->full_ + index);
  }
};

#endif

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
