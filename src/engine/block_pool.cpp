#include "engine/block_pool.h"

namespace tetrad {

BlockPool::BlockPool(int64_t num_blocks)
    : users_(static_cast<size_t>(num_blocks)),
      links_(static_cast<size_t>(num_blocks) + 1),
      num_unused_(num_blocks),
      ring_(static_cast<int32_t>(num_blocks)) {
  // In order, so that a lone sequence walks memory forwards.
  for (int32_t i = 0; i <= ring_; ++i)
    links_[index(i)] = {.previous = i == 0 ? ring_ : i - 1, .next = i == ring_ ? 0 : i + 1};
}

int32_t BlockPool::take() {
  const int32_t block = links_[index(ring_)].next;
  share(block);
  return block;
}

void BlockPool::share(int32_t block) {
  if (users_[index(block)]++ == 0) unlink(block);
}

void BlockPool::release(int32_t block, bool worth_keeping) {
  if (--users_[index(block)] > 0) return;
  if (worth_keeping) {
    insert_between(links_[index(ring_)].previous, block, ring_);
  } else {
    insert_between(ring_, block, links_[index(ring_)].next);
  }
}

void BlockPool::insert_between(int32_t previous, int32_t block, int32_t next) {
  links_[index(previous)].next = block;
  links_[index(block)] = {.previous = previous, .next = next};
  links_[index(next)].previous = block;
  ++num_unused_;
}

void BlockPool::unlink(int32_t block) {
  const Link link = links_[index(block)];
  links_[index(link.previous)].next = link.next;
  links_[index(link.next)].previous = link.previous;
  --num_unused_;
}

}  // namespace tetrad
