#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>

namespace tetrad {

// Workers spin briefly before they sleep: within a forward pass the next task follows in
// microseconds, and a futex round trip would cost more than the wait.
struct ThreadPool::Shared {
  std::atomic<uint32_t> generation{0};
  std::atomic<int> running{0};
  std::atomic<bool> stopping{false};
  const Task* task = nullptr;
};

namespace {

constexpr int kSpins = 4000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) {
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  return std::max(1, CPU_COUNT(&set));
}

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads > 0 ? num_threads : available_processors()),
      shared_(std::make_unique<Shared>()) {
  for (int thread = 1; thread < num_threads_; ++thread) {
    workers_.emplace_back([this, thread] { work(thread); });
  }
}

ThreadPool::~ThreadPool() {
  shared_->stopping.store(true);
  shared_->generation.fetch_add(1);
  shared_->generation.notify_all();
  for (std::thread& worker : workers_)
    worker.join();
}

void ThreadPool::work(int thread) {
  Shared& shared = *shared_;
  uint32_t seen = 0;
  while (true) {
    uint32_t now = shared.generation.load(std::memory_order_acquire);
    for (int spin = 0; now == seen && spin < kSpins; ++spin) {
      relax();
      now = shared.generation.load(std::memory_order_acquire);
    }
    if (now == seen) {
      shared.generation.wait(seen, std::memory_order_acquire);
      continue;
    }
    seen = now;
    if (shared.stopping.load()) return;
    (*shared.task)(thread);
    if (shared.running.fetch_sub(1, std::memory_order_acq_rel) == 1) shared.running.notify_one();
  }
}

void ThreadPool::run(const Task& task) {
  Shared& shared = *shared_;
  if (num_threads_ == 1) {
    task(0);
    return;
  }
  shared.task = &task;
  shared.running.store(num_threads_ - 1, std::memory_order_relaxed);
  shared.generation.fetch_add(1, std::memory_order_release);
  shared.generation.notify_all();
  task(0);
  int left = shared.running.load(std::memory_order_acquire);
  for (int spin = 0; left != 0 && spin < kSpins; ++spin) {
    relax();
    left = shared.running.load(std::memory_order_acquire);
  }
  while (left != 0) {
    shared.running.wait(left, std::memory_order_acquire);
    left = shared.running.load(std::memory_order_acquire);
  }
}

void ThreadPool::parallel_for(
    int64_t count, int64_t grain,
    const std::function<void(int64_t begin, int64_t end, int thread)>& body) {
  const int64_t grains = (count + grain - 1) / grain;
  const int64_t per_thread = (grains + num_threads_ - 1) / num_threads_ * grain;
  if (count <= per_thread) {
    if (count > 0) body(0, count, 0);
    return;
  }
  run([&](int thread) {
    const int64_t begin = std::min(count, thread * per_thread);
    const int64_t end = std::min(count, begin + per_thread);
    if (begin < end) body(begin, end, thread);
  });
}

}  // namespace tetrad
