#include "gpu/emulated_threads.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>
#include <boost/context/fiber.hpp>
#include <boost/context/preallocated.hpp>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define TETRAD_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TETRAD_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(TETRAD_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace tetrad::gpu {
// Named, since EmulatedBlock::State is made of what stands here.
namespace emulation {

namespace context = boost::context;

inline constexpr size_t kStackBytes = size_t{128} << 10;

/// The stacks of all fibers of a block, never given back one by one.
class FiberStacks {
 public:
  ~FiberStacks() { release(); }
  FiberStacks() = default;
  FiberStacks(const FiberStacks&) = delete;
  FiberStacks& operator=(const FiberStacks&) = delete;

  bool reserve(uint32_t count) {
    if (count * kStackBytes <= bytes_) return true;
    release();
    bytes_ = count * kStackBytes;
    memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ != MAP_FAILED) return true;
    memory_ = nullptr;
    bytes_ = 0;
    return false;
  }
  char* bottom(uint32_t index) const { return static_cast<char*>(memory_) + index * kStackBytes; }

 private:
  void release() {
    if (memory_ == nullptr) return;
#if defined(TETRAD_ADDRESS_SANITIZER)
    // What the sanitizer holds against the frames of fibers must not outlive them: the next to map
    // this memory may be a thread, as its stack.
    __asan_unpoison_memory_region(memory_, bytes_);
#endif
    munmap(memory_, bytes_);
    memory_ = nullptr;
  }

  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

struct KeepStack {
  void deallocate(context::stack_context&) const {}
};

/// The address sanitizer must know on which stack the code runs.
struct SanitizedSwitch {
  void* fake_stack = nullptr;
  const void* other_bottom = nullptr;
  size_t other_size = 0;

  void leave_for([[maybe_unused]] const void* bottom, [[maybe_unused]] size_t size,
                 [[maybe_unused]] bool for_good = false) {
#if defined(TETRAD_ADDRESS_SANITIZER)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack, bottom, size);
#endif
  }
  void arrived() {
#if defined(TETRAD_ADDRESS_SANITIZER)
    __sanitizer_finish_switch_fiber(fake_stack, &other_bottom, &other_size);
#endif
  }
};

static thread_local EmulatedThread* running_thread = nullptr;

enum class Turn : uint8_t { ready, looks_again, waits_for_warp, waits_for_block, done };

struct Fiber {
  EmulatedThread thread;
  context::fiber continuation;
  SanitizedSwitch inside;
  Turn turn = Turn::ready;
};

struct WarpMeeting {
  uint32_t arrived = 0;
  const char* operation = nullptr;
  void* lanes[32] = {};
};

struct PendingCopy {
  void* to = nullptr;
  const void* from = nullptr;
  size_t bytes = 0;
  uint64_t* arrivals = nullptr;
};

}  // namespace emulation

using namespace emulation;

EmulatedThread& emulated_thread() {
  return *running_thread;
}

struct EmulatedBlock::State {
  FiberStacks stacks;
  std::vector<Fiber> fibers;
  std::vector<WarpMeeting> warps;
  std::vector<PendingCopy> copies;
  std::vector<uint32_t> turns;  // the threads in the order of their turns
  EmulatedBlock::Position position;
  uint32_t num_done = 0;
  uint32_t arrived_at_block = 0;
  context::fiber scheduler;  // of the fiber that runs: whom to go back to
  SanitizedSwitch outside;
  std::string error;
  bool has_arrived = false;  // a thread, in this round

  /// From a fiber back to run().
  void give_way() {
    Fiber& mine = fibers[running_thread->index];
    mine.inside.leave_for(outside_bottom, outside_size);
    scheduler = std::move(scheduler).resume();
    mine.inside.arrived();
  }
  void resume(Fiber& fiber, uint32_t index) {
    running_thread = &fiber.thread;
    outside.leave_for(stacks.bottom(index), kStackBytes);
    fiber.continuation = std::move(fiber.continuation).resume();
    outside.arrived();
  }
  const void* outside_bottom = nullptr;
  size_t outside_size = 0;
};

EmulatedBlock::EmulatedBlock() : state_(std::make_unique<State>()) {}
EmulatedBlock::~EmulatedBlock() = default;

void EmulatedThread::wait_for_block() {
  EmulatedBlock::State& state = *threads->state_;
  if (++state.arrived_at_block == state.fibers.size()) {
    state.arrived_at_block = 0;
    for (Fiber& fiber : state.fibers)
      fiber.turn = Turn::ready;
    return;
  }
  state.fibers[index].turn = Turn::waits_for_block;
  state.give_way();
}

void EmulatedThread::wait_for_warp(const char* operation, void* mine, Together together) {
  EmulatedBlock::State& state = *threads->state_;
  WarpMeeting& meeting = state.warps[index / 32];
  if (meeting.arrived > 0 && meeting.operation != operation && state.error.empty()) {
    state.error = fmt::format("warp {}: lane {} comes to {} while others are at {}", index / 32,
                              index % 32, operation, meeting.operation);
  }
  meeting.operation = operation;
  meeting.lanes[index % 32] = mine;
  if (++meeting.arrived == 32) {
    meeting.arrived = 0;
    if (together != nullptr && state.error.empty()) together(meeting.lanes);
    for (uint32_t lane = 0; lane < 32; ++lane)
      state.fibers[index / 32 * 32 + lane].turn = Turn::ready;
    return;
  }
  state.fibers[index].turn = Turn::waits_for_warp;
  state.give_way();
}

void EmulatedThread::look_again() {
  EmulatedBlock::State& state = *threads->state_;
  state.fibers[index].turn = Turn::looks_again;
  state.give_way();
}

void EmulatedThread::refuse_address(const void* at) const {
  EmulatedBlock::State& state = *threads->state_;
  if (state.error.empty())
    state.error = fmt::format("16 bytes are read or written at {}, which is no multiple of 16", at);
}

void EmulatedThread::begin_copy(void* to, const void* from, size_t bytes, uint64_t* arrivals) {
  EmulatedBlock::State& state = *threads->state_;
  if (state.error.empty() && (!is_whole_16(to) || !is_whole_16(from) || bytes % 16 != 0))
    state.error = fmt::format("a copy of {} bytes is not of whole 16 bytes", bytes);
  if (state.error.empty() &&
      std::ranges::find(state.copies, arrivals, &PendingCopy::arrivals) != state.copies.end())
    state.error = "a copy is begun where another is still to be waited for";
  std::memset(to, 0xFF, bytes);
  state.copies.push_back({to, from, bytes, arrivals});
}

void EmulatedThread::wait_for_copy(uint64_t* arrivals, uint32_t parity) {
  std::vector<PendingCopy>& copies = threads->state_->copies;
  while (*arrivals % 2 == parity) {
    const auto mine = std::ranges::find(copies, arrivals, &PendingCopy::arrivals);
    if (mine == copies.end()) {
      look_again();
      continue;
    }
    std::memcpy(mine->to, mine->from, mine->bytes);
    copies.erase(mine);
    ++*arrivals;
  }
}

bool EmulatedThread::arrive(uint64_t* arrivals) {
  threads->state_->has_arrived = true;
  *arrivals -= 2;
  if (static_cast<uint32_t>(*arrivals) > 1) return false;
  const uint64_t is_odd = *arrivals & 1;
  *arrivals = arrivals_of(static_cast<uint32_t>(*arrivals >> 32)) | (is_odd ^ 1);
  return true;
}

std::string EmulatedBlock::run(Kernel kernel, const void* arguments, const Position& position,
                               uint32_t num_threads, char* shared_memory, ThreadOrder order) {
  std::string error = start(kernel, arguments, position, num_threads, shared_memory, order);
  if (!error.empty()) return error;
  while (advance()) {
  }
  if (!state_->error.empty() || is_done()) return state_->error;
  return what_is_missing();
}

std::string EmulatedBlock::start(Kernel kernel, const void* arguments, const Position& position,
                                 uint32_t num_threads, char* shared_memory, ThreadOrder order) {
  State& state = *state_;
  if (num_threads == 0 || num_threads % 32 != 0)
    return fmt::format("{} threads a block are not whole warps", num_threads);
  if (!state.stacks.reserve(num_threads)) return "no memory for the stacks of the threads";
  state.error.clear();
  state.copies.clear();
  state.position = position;
  state.num_done = 0;
  state.arrived_at_block = 0;
  state.warps.assign(num_threads / 32, {});
  state.fibers.clear();
  state.fibers.resize(num_threads);

  std::vector<uint32_t>& turns = state.turns;
  turns.resize(num_threads);
  std::iota(turns.begin(), turns.end(), 0u);
  if (order == ThreadOrder::descending) std::ranges::reverse(turns);
  if (order == ThreadOrder::shuffled) {
    std::mt19937 random(position.block[0] * 31 + position.block[1] * 7 + position.block[2] + 1);
    std::ranges::shuffle(turns, random);
  }

  for (uint32_t i = 0; i < num_threads; ++i) {
    Fiber& fiber = state.fibers[i];
    fiber.thread = {
        .index = i, .grid_x = position.grid_x, .shared_memory = shared_memory, .threads = this};
    std::copy_n(position.block, 3, fiber.thread.block);
    context::stack_context stack;
    stack.size = kStackBytes;
    stack.sp = state.stacks.bottom(i) + kStackBytes;
    fiber.continuation =
        context::fiber(std::allocator_arg, context::preallocated(stack.sp, stack.size, stack),
                       KeepStack{}, [&state, &fiber, kernel, arguments](context::fiber&& back) {
                         fiber.inside.arrived();
                         state.outside_bottom = fiber.inside.other_bottom;
                         state.outside_size = fiber.inside.other_size;
                         state.scheduler = std::move(back);
                         kernel(arguments);
                         fiber.turn = Turn::done;
                         fiber.inside.leave_for(state.outside_bottom, state.outside_size, true);
                         return std::move(state.scheduler);
                       });
  }

  return "";
}

bool EmulatedBlock::advance() {
  State& state = *state_;
  bool moved = false;
  state.has_arrived = false;
  for (const uint32_t i : state.turns) {
    Fiber& fiber = state.fibers[i];
    if (fiber.turn != Turn::ready && fiber.turn != Turn::looks_again) continue;
    fiber.turn = Turn::ready;
    state.resume(fiber, i);
    if (fiber.turn != Turn::looks_again) moved = true;
    if (fiber.turn == Turn::done) ++state.num_done;
    if (is_done() && !state.copies.empty() && state.error.empty())
      state.error = "the block ends while copies to its memory are on their way";
    if (!state.error.empty()) break;
  }
  running_thread = nullptr;
  // Who only looked may have let others go on before, and who arrived is what others look for.
  const bool are_ready =
      std::ranges::find(state.fibers, Turn::ready, &Fiber::turn) != state.fibers.end();
  return (moved || are_ready || state.has_arrived) && !is_done() && state.error.empty();
}

bool EmulatedBlock::is_done() const {
  return state_->num_done == state_->fibers.size();
}

const std::string& EmulatedBlock::error() const {
  return state_->error;
}

std::string EmulatedBlock::what_is_missing() const {
  const State& state = *state_;
  const auto count = [&](Turn turn) {
    return std::ranges::count(state.fibers, turn, &Fiber::turn);
  };
  const auto waiting = std::ranges::find(state.fibers, Turn::waits_for_warp, &Fiber::turn);
  const auto looking = count(Turn::looks_again);
  return fmt::format(
      "block ({}, {}, {}): {} threads wait for their warp{}, {} for their block{}, {} have "
      "returned",
      state.position.block[0], state.position.block[1], state.position.block[2],
      count(Turn::waits_for_warp),
      waiting == state.fibers.end()
          ? ""
          : fmt::format(" (warp {} at {})", waiting->thread.index / 32,
                        state.warps[waiting->thread.index / 32].operation),
      count(Turn::waits_for_block),
      looking == 0 ? "" : fmt::format(", {} for other blocks or a copy", looking), state.num_done);
}

}  // namespace tetrad::gpu
