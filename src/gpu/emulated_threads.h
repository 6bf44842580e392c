#pragma once

// The threads of one block as fibers on one CPU thread. A fiber runs until it waits for its warp or
// its block; then the next one runs. Which comes first is up to a seed: a kernel whose result
// depends on it has a race.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace tetrad::gpu {

class EmulatedBlock;

/// What a running fiber knows of itself.
struct EmulatedThread {
  uint32_t index = 0;
  uint32_t block[3] = {};
  uint32_t grid_x = 1;
  char* shared_memory = nullptr;
  EmulatedBlock* threads = nullptr;

  void wait_for_block();
  /// All lanes come here with the same `operation`; the last one to come runs `together`, if any,
  /// on what each brought, lane by lane.
  using Together = void (*)(void* const (&lanes)[32]);
  void wait_for_warp(const char* operation, void* mine, Together together);
  /// After a look at what another block is to write, in vain: others get their turns.
  void look_again();
  /// That an access of 16 bytes is at a multiple of 16.
  void check_whole_16(const void* at) const {
    if (!is_whole_16(at)) refuse_address(at);
  }
  /// A copy that is under way until someone waits for it: until then the bytes are none that
  /// anybody may use. *arrivals counts those that have arrived.
  void begin_copy(void* to, const void* from, size_t bytes, uint64_t* arrivals);
  void wait_for_copy(uint64_t* arrivals, uint32_t parity);
  /// Where `count` threads arrive, time after time: the count, then twice as many as are missing,
  /// odd after an odd number of times.
  static constexpr uint64_t arrivals_of(uint32_t count) {
    return uint64_t{count} << 32 | uint64_t{2} * count;
  }
  /// Whether this thread was the last one.
  bool arrive(uint64_t* arrivals);

 private:
  static bool is_whole_16(const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; }
  void refuse_address(const void* at) const;
};

/// Of the fiber that runs.
EmulatedThread& emulated_thread();

/// In which order the threads of a block get their turns.
enum class ThreadOrder : uint8_t { ascending, descending, shuffled };

/// Runs a block after the other and keeps the fibers' stacks between them.
class EmulatedBlock {
 public:
  EmulatedBlock();
  ~EmulatedBlock();

  using Kernel = void (*)(const void* arguments);
  struct Position {
    uint32_t block[3] = {};
    uint32_t grid_x = 1;
  };
  /// Returns "" or what went wrong: threads that wait for what never comes.
  std::string run(Kernel kernel, const void* arguments, const Position& position,
                  uint32_t num_threads, char* shared_memory, ThreadOrder order);

  // The same in steps, for blocks that wait for each other.
  std::string start(Kernel kernel, const void* arguments, const Position& position,
                    uint32_t num_threads, char* shared_memory, ThreadOrder order);
  /// A turn for each thread that can go on; whether one did more than look once more.
  bool advance();
  /// Whether all threads have returned.
  bool is_done() const;
  /// "" or what went wrong in a thread.
  const std::string& error() const;
  /// What the threads wait for that have not returned.
  std::string what_is_missing() const;

 private:
  friend struct EmulatedThread;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tetrad::gpu
