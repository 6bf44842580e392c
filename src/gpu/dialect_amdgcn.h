#pragma once

// The dialect on AMD GPUs of the gfx12 family (wave32), by clang's builtins; no header of ROCm.
// Compiled for gfx1200 and gfx1201; never run on the hardware.

#include <cstdint>

#include "gpu/dialect_clang.h"

// The second bound: at least one wave a SIMD, so that the compiler may use all registers.
#define TETRAD_KERNEL(name, Args, threads)                                       \
  extern "C" __attribute__((global, launch_bounds(threads),                      \
                            amdgpu_flat_work_group_size(threads, threads))) void \
  name(const Args args)

namespace tetrad::gpu {

TETRAD_DEVICE uint32_t thread_index() {
  return __builtin_amdgcn_workitem_id_x();
}
TETRAD_DEVICE uint32_t block_x() {
  return __builtin_amdgcn_workgroup_id_x();
}
TETRAD_DEVICE uint32_t block_y() {
  return __builtin_amdgcn_workgroup_id_y();
}
TETRAD_DEVICE uint32_t block_z() {
  return __builtin_amdgcn_workgroup_id_z();
}
TETRAD_DEVICE uint32_t grid_x() {
  // Code object version 5: block counts stand first among the implicit arguments.
  return *(const __attribute__((address_space(4))) uint32_t*)__builtin_amdgcn_implicitarg_ptr();
}

TETRAD_DEVICE void sync_block() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
TETRAD_DEVICE void sync_warp() {
  __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "wavefront");
  __builtin_amdgcn_wave_barrier();
}

extern __attribute__((shared, aligned(128))) char dynamic_shared_memory[];
TETRAD_DEVICE char* shared_memory() {
  return dynamic_shared_memory;
}

// A launch begins when those before it are done.
TETRAD_DEVICE void wait_for_launches_before() {}
TETRAD_DEVICE void let_next_launch_begin() {}

TETRAD_DEVICE uint32_t shuffle(uint32_t value, uint32_t from_lane) {
  return static_cast<uint32_t>(
      __builtin_amdgcn_ds_bpermute(static_cast<int>(from_lane * 4), static_cast<int>(value)));
}
TETRAD_DEVICE float shuffle(float value, uint32_t from_lane) {
  return __builtin_bit_cast(float, shuffle(__builtin_bit_cast(uint32_t, value), from_lane));
}
TETRAD_DEVICE uint32_t shuffle_xor(uint32_t value, uint32_t mask) {
  return shuffle(value, (thread_index() % 32) ^ mask);
}
TETRAD_DEVICE float shuffle_xor(float value, uint32_t mask) {
  return shuffle(value, (thread_index() % 32) ^ mask);
}

TETRAD_DEVICE uint32_t same_in_warp(uint32_t value) {
  return static_cast<uint32_t>(__builtin_amdgcn_readfirstlane(static_cast<int>(value)));
}

TETRAD_DEVICE float square_root(float x) {
  return __builtin_sqrtf(x);
}
TETRAD_DEVICE float divide(float a, float b) {
  return a / b;
}
TETRAD_DEVICE float divide_nearly(float a, float b) {
  return divide(a, b);
}
TETRAD_DEVICE float power_of_two(float x) {
  return __builtin_amdgcn_exp2f(x);
}
TETRAD_DEVICE float power_of_two_for_half(float x) {
  return __builtin_amdgcn_exp2f(x);
}

TETRAD_DEVICE uint32_t small_floats_to_halves(float low, float high) {
  const NativeHalf2 two = {static_cast<_Float16>(low), static_cast<_Float16>(high)};
  return __builtin_bit_cast(uint32_t, two);
}

template <uint32_t kWhich>
TETRAD_DEVICE uint32_t double_half(uint32_t word) {
  const NativeHalf2 halves = __builtin_bit_cast(NativeHalf2, word);
  const NativeHalf2 both_halves = {halves[kWhich], halves[kWhich]};
  return __builtin_bit_cast(uint32_t, both_halves);
}

TETRAD_DEVICE uint32_t floats_to_e4m3(float low, float high) {
  const float a = smaller(larger(low, -448.0f), 448.0f);
  const float b = smaller(larger(high, -448.0f), 448.0f);
  return static_cast<uint32_t>(__builtin_amdgcn_cvt_pk_fp8_f32(a, b, 0, false)) & 0xFFFFu;
}

TETRAD_DEVICE uint32_t computed_here(uint32_t value) {
  asm volatile("" : "+v"(value));
  return value;
}

typedef uint32_t NativeWords4 __attribute__((ext_vector_type(4)));
TETRAD_DEVICE void load_once(uint32_t (&to)[4], const void* from) {
  const NativeWords4 words = __builtin_nontemporal_load(static_cast<const NativeWords4*>(from));
  to[0] = words.x;
  to[1] = words.y;
  to[2] = words.z;
  to[3] = words.w;
}
TETRAD_DEVICE void prefetch_l2(const void*) {}

// gfx12 has no copy from global to shared memory that runs by itself.
TETRAD_DEVICE void keep_order() {
  __builtin_amdgcn_sched_barrier(0);
}

TETRAD_DEVICE void copy_16_async(void* shared, const void* global) {
  *static_cast<NativeWords4*>(shared) = *static_cast<const NativeWords4*>(global);
}
TETRAD_DEVICE void end_copy_group() {}
template <int kPending>
TETRAD_DEVICE void wait_for_copy_groups() {}

TETRAD_DEVICE void add_in_memory(float* to, float value) {
  __builtin_amdgcn_global_atomic_fadd_f32((__attribute__((address_space(1))) float*)to, value);
}
TETRAD_DEVICE void fence_device() {
  __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "agent");
}
TETRAD_DEVICE float load_fresh(const float* from) {
  return __hip_atomic_load(from, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
TETRAD_DEVICE uint32_t load_fresh(const uint32_t* from) {
  return __hip_atomic_load(from, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
TETRAD_DEVICE uint32_t atomic_increment(uint32_t* counter) {
  return __hip_atomic_fetch_add(counter, 1u, __ATOMIC_ACQ_REL, __HIP_MEMORY_SCOPE_AGENT);
}

TETRAD_DEVICE void store_fresh(uint32_t* to, uint32_t value) {
  __hip_atomic_store(to, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
TETRAD_DEVICE void look_again(uint32_t& looks) {
  if (++looks == 1u << 24) __builtin_trap();
  __builtin_amdgcn_s_sleep(1);
}

TETRAD_DEVICE uint32_t load_acquire_system(const uint32_t* from) {
  return __hip_atomic_load(from, __ATOMIC_ACQUIRE, __HIP_MEMORY_SCOPE_SYSTEM);
}
TETRAD_DEVICE void store_release_system(uint32_t* to, uint32_t value) {
  __hip_atomic_store(to, value, __ATOMIC_RELEASE, __HIP_MEMORY_SCOPE_SYSTEM);
}
TETRAD_DEVICE void store_system_8_twice(void* to, uint64_t first, uint64_t second) {
  auto* words = static_cast<uint64_t*>(to);
  __hip_atomic_store(words, first, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_SYSTEM);
  __hip_atomic_store(words + 1, second, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_SYSTEM);
}
TETRAD_DEVICE void load_system_8_twice(uint64_t (&to)[2], const void* from) {
  const auto* words = static_cast<const uint64_t*>(from);
  to[0] = __hip_atomic_load(words, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_SYSTEM);
  to[1] = __hip_atomic_load(words + 1, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_SYSTEM);
}
// Eight bytes are the most that an atomic load takes.
TETRAD_DEVICE void load_system_16(uint32_t (&to)[4], const void* from) {
  uint64_t words[2];
  load_system_8_twice(words, from);
  TETRAD_UNROLL
  for (uint32_t i = 0; i < 2; ++i) {
    to[2 * i] = static_cast<uint32_t>(words[i]);
    to[2 * i + 1] = static_cast<uint32_t>(words[i] >> 32);
  }
}
// It counts at 100 MHz on all GPUs of this family.
TETRAD_DEVICE uint64_t nanoseconds() {
  return __builtin_readsteadycounter() * 10;
}
TETRAD_DEVICE void pause_thread() {
  __builtin_amdgcn_s_sleep(1);
}

TETRAD_DEVICE uint32_t ballot(bool mine) {
  return __builtin_amdgcn_ballot_w32(mine);
}

TETRAD_DEVICE uint32_t bytes_above(uint32_t a, uint32_t i, uint32_t b, uint32_t j) {
  return __builtin_amdgcn_perm(b, a, i << 8 | (j + 4) << 24);
}

}  // namespace tetrad::gpu
