#pragma once

// How work is split over threads: statically, so that what a thread computes never depends on
// timing.

#include <algorithm>
#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace tetrad {

/// Columns of results are handed out in multiples of this: a cache line of floats, and a group of
/// an Int8Block.
inline constexpr int64_t kColumnGrain = 16;

/// Fewer multiplications than this are done before another thread is awake, and while other
/// programs want the processors it may not wake for long: they stay on the calling thread.
inline constexpr int64_t kWorthThreads = 1 << 17;

/// Elements begin … end - 1 of something.
struct Share {
  int64_t begin;
  int64_t end;
};

/// The share of [0, count) that belongs to one of num_threads, cut at multiples of kColumnGrain.
inline Share share_of(int64_t count, int thread, int num_threads) {
  const int64_t grains = (count + kColumnGrain - 1) / kColumnGrain;
  const int64_t begin = grains * thread / num_threads * kColumnGrain;
  const int64_t end = grains * (thread + 1) / num_threads * kColumnGrain;
  return {std::min(begin, count), std::min(end, count)};
}

inline Activations part(Activations x, Share share) {
  return {x.row(share.begin), share.end - share.begin, x.cols};
}

template <class T>
std::span<T> part(std::span<T> all, Share share) {
  return all.subspan(static_cast<size_t>(share.begin),
                     static_cast<size_t>(share.end - share.begin));
}

inline Routing part(const Routing& routing, Share share) {
  const int64_t top_k = routing.num_experts_per_tok;
  const Share choices{share.begin * top_k, share.end * top_k};
  return {part(routing.expert_ids, choices), part(routing.weights, choices), top_k};
}

/// body(thread, num_threads) on every thread, or on this one alone.
template <class Body>
void run_on_threads(ThreadPool& pool, int64_t multiplications, const Body& body) {
  if (multiplications < kWorthThreads) {
    body(0, 1);
  } else {
    pool.run([&](int thread) { body(thread, pool.num_threads()); });
  }
}

/// body(share) for rows one after the other, a share for each thread; few rows stay on this one.
template <class Body>
void for_each_share_of_rows(ThreadPool& pool, int64_t rows, const Body& body) {
  constexpr int64_t kRowsWorthAThread = 8;
  pool.parallel_for(rows, kRowsWorthAThread,
                    [&](int64_t begin, int64_t end, int) { body(Share{begin, end}); });
}

}  // namespace tetrad
