#include "processor_share.h"

#include <algorithm>
#include <cstddef>

namespace tetrad {
namespace {

std::vector<int> usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> processors;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return processors;
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (CPU_ISSET(processor, &set)) processors.push_back(processor);
  }
  return processors;
}

}  // namespace

ProcessorShare share_of_processors(int num_threads, int num_ranks, int index) {
  if (num_threads > 0) return {.num_threads = std::max(1, num_threads / num_ranks)};
  const std::vector<int> all = usable_processors();
  const int each = static_cast<int>(all.size()) / num_ranks;
  if (each == 0) return {};
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(index) * each;
  return {.num_threads = each, .processors = {begin, begin + each}};
}

PinnedThread::PinnedThread(const std::vector<int>& processors) {
  if (processors.empty() || sched_getaffinity(0, sizeof before_, &before_) != 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int processor : processors)
    CPU_SET(static_cast<size_t>(processor), &set);
  is_pinned_ = sched_setaffinity(0, sizeof set, &set) == 0;
}

PinnedThread::~PinnedThread() {
  if (is_pinned_) sched_setaffinity(0, sizeof before_, &before_);
}

}  // namespace tetrad
