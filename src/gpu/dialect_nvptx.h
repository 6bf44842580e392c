#pragma once

// The dialect on NVIDIA GPUs, by clang's builtins and PTX; no header of the CUDA toolkit.

#include <cstdint>

#include "gpu/dialect_clang.h"

#define TETRAD_KERNEL(name, Args, threads) \
  extern "C" __attribute__((global, launch_bounds(threads))) void name(const Args args)
/// The same of which one block has a multiprocessor's registers to itself: as many as its threads
/// can have, and they may give each other some.
#define TETRAD_LONE_KERNEL(name, Args, threads) \
  extern "C" __attribute__((global, launch_bounds(threads, 1))) void name(const Args args)

namespace tetrad::gpu {

TETRAD_DEVICE uint32_t thread_index() {
  return __nvvm_read_ptx_sreg_tid_x();
}
TETRAD_DEVICE uint32_t block_x() {
  return __nvvm_read_ptx_sreg_ctaid_x();
}
TETRAD_DEVICE uint32_t block_y() {
  return __nvvm_read_ptx_sreg_ctaid_y();
}
TETRAD_DEVICE uint32_t block_z() {
  return __nvvm_read_ptx_sreg_ctaid_z();
}
TETRAD_DEVICE uint32_t grid_x() {
  return __nvvm_read_ptx_sreg_nctaid_x();
}

TETRAD_DEVICE void sync_block() {
  __nvvm_bar_sync(0);
}
TETRAD_DEVICE void sync_warp() {
  __nvvm_bar_warp_sync(0xFFFFFFFFu);
}

extern __attribute__((shared, aligned(1024))) char dynamic_shared_memory[];
TETRAD_DEVICE char* shared_memory() {
  return dynamic_shared_memory;
}
TETRAD_DEVICE uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(
      reinterpret_cast<uint64_t>((__attribute__((address_space(3))) const void*)shared));
}

/// Until all launches before this one are done and what they wrote can be read. Before it a kernel
/// may read what neither of the two launches before it writes: those before these are done, since
/// all but merge_groups let the next begin only after their own wait, and no two of it follow one
/// another.
TETRAD_DEVICE void wait_for_launches_before() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
/// The next launch may begin, as far as its own wait.
TETRAD_DEVICE void let_next_launch_begin() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

TETRAD_DEVICE float shuffle_xor(float value, uint32_t mask) {
  float other;
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;"
               : "=f"(other)
               : "f"(value), "r"(mask));
  return other;
}
TETRAD_DEVICE uint32_t shuffle_xor(uint32_t value, uint32_t mask) {
  uint32_t other;
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;"
               : "=r"(other)
               : "r"(value), "r"(mask));
  return other;
}
TETRAD_DEVICE uint32_t shuffle(uint32_t value, uint32_t from_lane) {
  uint32_t other;
  asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;"
               : "=r"(other)
               : "r"(value), "r"(from_lane));
  return other;
}
TETRAD_DEVICE float shuffle(float value, uint32_t from_lane) {
  return __builtin_bit_cast(float, shuffle(__builtin_bit_cast(uint32_t, value), from_lane));
}

/// One instruction here, five steps elsewhere (dialect.h).
TETRAD_DEVICE uint32_t warp_max(uint32_t value) {
  uint32_t largest;
  asm volatile("redux.sync.max.u32 %0, %1, 0xffffffff;" : "=r"(largest) : "r"(value));
  return largest;
}

/// A value that all lanes have alike, said to the compiler: it then needs no masks of lanes.
TETRAD_DEVICE uint32_t same_in_warp(uint32_t value) {
  return value;
}

TETRAD_DEVICE float square_root(float x) {
  return __nvvm_sqrt_rn_f(x);
}
TETRAD_DEVICE float divide(float a, float b) {
  return __nvvm_div_rn_f(a, b);
}
/// a / b, nearly: within 2 units in the last place.
TETRAD_DEVICE float divide_nearly(float a, float b) {
  float quotient;
  asm("div.full.f32 %0, %1, %2;" : "=f"(quotient) : "f"(a), "f"(b));
  return quotient;
}
/// 2^x, nearly: within 2 units in the last place.
TETRAD_DEVICE float power_of_two(float x) {
  return __nvvm_ex2_approx_f(x);
}
/// The same where a half is made of it: what is below a float's normal numbers may be 0.
TETRAD_DEVICE float power_of_two_for_half(float x) {
  return __nvvm_ex2_approx_ftz_f(x);
}

/// As floats_to_halves, for numbers within ±65504.
TETRAD_DEVICE uint32_t small_floats_to_halves(float low, float high) {
  uint32_t two;
  asm("cvt.rn.f16x2.f32 %0, %2, %1;" : "=r"(two) : "f"(low), "f"(high));
  return two;
}

/// The low (0) or high (1) half of a word in both halves: an operand's modifier, no instruction.
template <uint32_t kWhich>
TETRAD_DEVICE uint32_t double_half(uint32_t word) {
  uint32_t both_halves;
  if constexpr (kWhich == 0) {
    asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; mov.b32 %0, {l, l}; }"
        : "=r"(both_halves)
        : "r"(word));
  } else {
    asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; mov.b32 %0, {h, h}; }"
        : "=r"(both_halves)
        : "r"(word));
  }
  return both_halves;
}

/// Nearest even, saturated at ±448; `low` in the low byte.
TETRAD_DEVICE uint32_t floats_to_e4m3(float low, float high) {
  uint32_t two;
  asm("{ .reg .b16 t; cvt.rn.satfinite.e4m3x2.f32 t, %2, %1; cvt.u32.u16 %0, t; }"
      : "=r"(two)
      : "f"(low), "f"(high));
  return two;
}

/// The same number, of which the compiler knows nothing: what depends on it is computed where it
/// stands, not before a loop and kept in registers.
TETRAD_DEVICE uint32_t computed_here(uint32_t value) {
  asm volatile("" : "+r"(value));
  return value;
}

/// Loads before it stay before it, in what the assembler makes of it too: it would gather those of
/// a loop's steps at the loop's end, where nothing is left to be done while they are on their way.
/// Not for `nc` loads, which it moves all the same.
TETRAD_DEVICE void keep_order() {
  asm volatile("bar.warp.sync 0xffffffff;" ::: "memory");
}

/// 16 bytes that are read once and will not be needed in the L1 cache. `from`: a multiple of 16,
/// memory that no running kernel writes.
TETRAD_DEVICE void load_once(uint32_t (&to)[4], const void* from) {
  asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "l"(from));
}
/// Asks for the 128 bytes around an address to come into the L2 cache.
TETRAD_DEVICE void prefetch_l2(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

/// 16 bytes from global to shared memory while the thread goes on.
TETRAD_DEVICE void copy_16_async(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)),
               "l"(global)
               : "memory");
}
TETRAD_DEVICE void end_copy_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Until at most kPending of this thread's groups are still on their way.
template <int kPending>
TETRAD_DEVICE void wait_for_copy_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// Where copies that run by themselves arrive: 8 bytes of shared memory, one copy at a time. Made
/// by one thread; a sync_warp() must follow before others use it.
TETRAD_DEVICE void init_arrivals(uint64_t* arrivals) {
  asm volatile(
      "mbarrier.init.shared::cta.b64 [%0], 1;\n\t"
      "fence.mbarrier_init.release.cluster;\n\t"
      "fence.proxy.async.shared::cta;" ::"r"(shared_address(arrivals))
      : "memory");
}
/// By one thread: `bytes` from global to shared memory, both and their number multiples of 16.
TETRAD_DEVICE void copy_bulk(void* shared, const void* global, uint32_t bytes, uint64_t* arrivals) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%3], %2;\n\t"
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(shared)),
      "l"(global), "r"(bytes), "r"(shared_address(arrivals))
      : "memory");
}
/// Until the copies so far, or the times that all threads arrived, are one more than an even (0) or
/// an odd (1) number; by all who read what came.
TETRAD_DEVICE void wait_for_arrival(uint64_t* arrivals, uint32_t parity) {
  uint32_t is_there;
  do {
    asm volatile(
        "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; "
        "selp.u32 %0, 1, 0, p; }"
        : "=r"(is_there)
        : "r"(shared_address(arrivals)), "r"(parity)
        : "memory");
  } while (is_there == 0);
}
/// Whether wait_for_arrival() would not wait; perhaps not yet although it would not.
TETRAD_DEVICE bool has_arrived(uint64_t* arrivals, uint32_t parity) {
  uint32_t is_there;
  asm volatile(
      "{ .reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; "
      "selp.u32 %0, 1, 0, p; }"
      : "=r"(is_there)
      : "r"(shared_address(arrivals)), "r"(parity)
      : "memory");
  return is_there != 0;
}
/// Where threads of a block arrive `count` times, time after time: 8 bytes of shared memory. Made
/// by one thread; a sync_block() must follow before others use it. compute-sanitizer's racecheck
/// knows that what a thread wrote is ordered by its own arrival; it knows no such thing of
/// counters, nor of what another lane of the warp wrote.
TETRAD_DEVICE void init_arrivals_of(uint64_t* arrivals, uint32_t count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(arrivals)), "r"(count)
               : "memory");
}
/// By one of those threads. When all have come the next time begins: wait_for_arrival() of an even
/// (0) or an odd (1) one.
TETRAD_DEVICE void arrive(uint64_t* arrivals) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(arrivals))
               : "memory");
}
/// arrive() as soon as all copies are there that the thread has begun with copy_16_async(). What it
/// wrote itself before need not be seen then.
TETRAD_DEVICE void arrive_with_copies(uint64_t* arrivals) {
  asm volatile(
      "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(arrivals))
      : "memory");
}
/// Whether the thread is the last one; where lanes of a warp arrive together, perhaps none is.
/// Whoever then waits for the arrival sees what all of them wrote before theirs.
TETRAD_DEVICE bool is_last_arrival(uint64_t* arrivals) {
  uint32_t pending;
  asm volatile(
      "{ .reg .b64 state; mbarrier.arrive.shared::cta.b64 state, [%1]; "
      "mbarrier.pending_count.b64 %0, state; }"
      : "=r"(pending)
      : "r"(shared_address(arrivals))
      : "memory");
  return pending == 1;
}
/// What threads read and wrote in shared memory comes before the copies that are begun after the
/// next sync_block().
TETRAD_DEVICE void leave_to_copies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/// 16 bytes of shared memory by the lanes that want them, without a branch; others keep `to`.
TETRAD_DEVICE void load_shared_16_if(bool wanted, uint32_t (&to)[4], const void* from) {
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %5, 0; @p ld.shared.v4.u32 {%0, %1, %2, %3}, [%4]; }"
               : "+r"(to[0]), "+r"(to[1]), "+r"(to[2]), "+r"(to[3])
               : "r"(shared_address(from)), "r"(static_cast<uint32_t>(wanted))
               : "memory");
}
/// A word to shared memory by the threads that want it, without a branch.
TETRAD_DEVICE void store_shared_if(bool wanted, uint32_t* to, uint32_t value) {
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %2, 0; @p st.shared.u32 [%0], %1; }" ::"r"(
                   shared_address(to)),
               "r"(value), "r"(static_cast<uint32_t>(wanted))
               : "memory");
}
/// Byte `byte` of a word times 256, plus `low`, which is below 256: one instruction.
TETRAD_DEVICE uint32_t byte_above(uint32_t word, uint32_t byte, uint32_t low) {
  return __nvvm_prmt(word, low, 0x5504u | byte << 4);
}

/// *to += value, where no other thread writes: the thread does not wait for what was there. Of
/// numbers below 1.2e-38 it makes 0, which no half made of a residual can tell.
TETRAD_DEVICE void add_in_memory(float* to, float value) {
  asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;" ::"l"(to), "f"(value) : "memory");
}

/// What this thread wrote to global memory before is seen by whoever sees what it writes after.
TETRAD_DEVICE void fence_device() {
  asm volatile("fence.acq_rel.gpu;" ::: "memory");
}
/// What other blocks of this launch wrote, after they said so by a counter.
TETRAD_DEVICE float load_fresh(const float* from) {
  float value;
  asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(value) : "l"(from) : "memory");
  return value;
}
TETRAD_DEVICE uint32_t load_fresh(const uint32_t* from) {
  uint32_t value;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}
/// 16 bytes of it.
TETRAD_DEVICE void load_fresh_16(uint32_t (&to)[4], const void* from) {
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "l"(from)
               : "memory");
}
/// *counter += 1 for all threads of the device; the value before.
TETRAD_DEVICE uint32_t atomic_increment(uint32_t* counter) {
  return __atomic_fetch_add(counter, 1u, __ATOMIC_ACQ_REL);
}
/// For threads of other blocks that look by load_fresh(), and of nothing else.
TETRAD_DEVICE void store_fresh(uint32_t* to, uint32_t value) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}
/// Between two looks in vain at what another block of this launch writes; `looks`: 0 at first.
/// After some ten seconds of them the launch fails: the other block does not run at the same time.
TETRAD_DEVICE void look_again(uint32_t& looks) {
  if (++looks == 1u << 24) asm volatile("trap;");
}

/// A word of memory that other GPUs and the host write, too, and with it, what they wrote before
/// they stored it by store_release_system().
TETRAD_DEVICE uint32_t load_acquire_system(const uint32_t* from) {
  uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}
/// Whoever sees the word by load_acquire_system() sees what this thread wrote before, and what its
/// block did before the last sync_block().
TETRAD_DEVICE void store_release_system(uint32_t* to, uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}
/// What other GPUs wrote, after they said so in that way. `from`: a multiple of 16.
TETRAD_DEVICE void load_system_16(uint32_t (&to)[4], const void* from) {
  asm volatile("ld.relaxed.sys.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "l"(from)
               : "memory");
}
/// Two times 8 bytes, of neither of which another GPU or the host ever sees a half. `to`: a
/// multiple of 16.
TETRAD_DEVICE void store_system_8_twice(void* to, uint64_t first, uint64_t second) {
  asm volatile("st.relaxed.sys.global.v2.u64 [%0], {%1, %2};" ::"l"(to), "l"(first), "l"(second)
               : "memory");
}
/// What they store in that way.
TETRAD_DEVICE void load_system_8_twice(uint64_t (&to)[2], const void* from) {
  asm volatile("ld.relaxed.sys.global.v2.u64 {%0, %1}, [%2];"
               : "=l"(to[0]), "=l"(to[1])
               : "l"(from)
               : "memory");
}
/// Of a clock that goes on whatever the GPU does; it may move in steps of a microsecond.
TETRAD_DEVICE uint64_t nanoseconds() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
  return now;
}
/// Between two looks at memory that others write.
TETRAD_DEVICE void pause_thread() {
  asm volatile("nanosleep.u32 20;" ::: "memory");
}

/// Bit i of the result: what lane i brings.
TETRAD_DEVICE uint32_t ballot(bool mine) {
  uint32_t lanes;
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; vote.sync.ballot.b32 %0, p, 0xffffffff; }"
               : "=r"(lanes)
               : "r"(static_cast<uint32_t>(mine)));
  return lanes;
}

/// See dialect.h: here an instruction converts two numbers.
inline constexpr float kE4m3Factor = 1;
TETRAD_DEVICE uint32_t e4m3_as_halves(uint32_t word, uint32_t half) {
  uint32_t two;
  if (half == 0)
    asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.rn.f16x2.e4m3x2 %0, l; }"
        : "=r"(two)
        : "r"(word));
  else
    asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.rn.f16x2.e4m3x2 %0, h; }"
        : "=r"(two)
        : "r"(word));
  return two;
}
TETRAD_DEVICE uint32_t e4m3_as_halves(uint32_t a, uint32_t i, uint32_t b, uint32_t j) {
  return e4m3_as_halves(__nvvm_prmt(a, b, i | (j + 4) << 4), 0);
}
TETRAD_DEVICE uint32_t bytes_in_turn(uint32_t a, uint32_t b, uint32_t i) {
  return __nvvm_prmt(a, b, i | (i + 4) << 4 | (i + 1) << 8 | (i + 5) << 12);
}

}  // namespace tetrad::gpu
