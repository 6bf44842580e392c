#include "text/byte_pair_encoder.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

namespace tetrad {
namespace {

constexpr uint32_t kNone = UINT32_MAX;  // no symbol, no merge

uint64_t pair_of(TokenId left, TokenId right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

}  // namespace

Result<BytePairEncoder> BytePairEncoder::create(const std::array<TokenId, 256>& byte_tokens,
                                                std::vector<Merge> merges) {
  BytePairEncoder encoder;
  encoder.byte_tokens_ = byte_tokens;
  encoder.merges_ = std::move(merges);
  const size_t size = std::bit_ceil(2 * encoder.merges_.size() + 2);
  encoder.slots_.assign(size, Slot{0, kNone});
  encoder.shift_ = 64 - std::countr_zero(size);
  for (uint32_t rank = 0; rank < encoder.merges_.size(); ++rank) {
    const Merge& merge = encoder.merges_[rank];
    const uint64_t pair = pair_of(merge.left, merge.right);
    Slot& slot = encoder.slots_[encoder.find_slot(pair)];
    if (slot.rank != kNone) {
      return fail(ErrorCode::corrupt_data, "merges[{}] repeats merges[{}]", rank, slot.rank);
    }
    slot = {pair, rank};
  }
  return encoder;
}

size_t BytePairEncoder::find_slot(uint64_t pair) const {
  // Fibonacci hashing: the high bits of the product depend on all bits of the pair.
  size_t at = (pair * 0x9E3779B97F4A7C15U) >> shift_;
  while (slots_[at].rank != kNone && slots_[at].pair != pair)
    at = (at + 1) & (slots_.size() - 1);
  return at;
}

uint32_t BytePairEncoder::rank_of(TokenId left, TokenId right) const {
  return slots_[find_slot(pair_of(left, right))].rank;
}

void BytePairEncoder::start(std::string_view piece, Workspace& workspace) const {
  const auto size = static_cast<uint32_t>(piece.size());
  workspace.symbols.resize(size);
  for (uint32_t i = 0; i < size; ++i) {
    workspace.symbols[i] = {byte_tokens_[static_cast<uint8_t>(piece[i])], i == 0 ? kNone : i - 1,
                            i + 1 == size ? kNone : i + 1, kNone};
  }
  workspace.queue.clear();
  for (uint32_t i = 0; i + 1 < size; ++i) {
    auto& symbol = workspace.symbols[i];
    symbol.rank = rank_of(symbol.token, workspace.symbols[i + 1].token);
    if (symbol.rank != kNone) workspace.queue.push_back(uint64_t{symbol.rank} << 32 | i);
  }
  std::ranges::make_heap(workspace.queue, std::greater<>());
}

/// Looks up and queues the merge of a symbol with its right neighbour, after one of them changed.
void BytePairEncoder::rerank(Workspace& workspace, uint32_t index) const {
  auto& symbol = workspace.symbols[index];
  symbol.rank =
      symbol.next == kNone ? kNone : rank_of(symbol.token, workspace.symbols[symbol.next].token);
  if (symbol.rank == kNone) return;
  workspace.queue.push_back(uint64_t{symbol.rank} << 32 | index);
  std::ranges::push_heap(workspace.queue, std::greater<>());
}

/// Merges the symbol at `index` with its right neighbour, by the merge it is ranked for.
void BytePairEncoder::apply(Workspace& workspace, uint32_t index) const {
  auto& left = workspace.symbols[index];
  auto& right = workspace.symbols[left.next];
  left.token = merges_[left.rank].result;
  left.next = right.next;
  right.rank = kNone;
  if (left.next != kNone) workspace.symbols[left.next].previous = index;
  rerank(workspace, index);
  if (left.previous != kNone) rerank(workspace, left.previous);
}

void BytePairEncoder::encode(std::string_view piece, Workspace& workspace,
                             std::vector<TokenId>& tokens) const {
  if (piece.empty()) return;
  start(piece, workspace);
  while (!workspace.queue.empty()) {
    std::ranges::pop_heap(workspace.queue, std::greater<>());
    const uint64_t next = workspace.queue.back();
    workspace.queue.pop_back();
    const auto index = static_cast<uint32_t>(next);
    if (workspace.symbols[index].rank == next >> 32) apply(workspace, index);
  }
  for (uint32_t at = 0; at != kNone; at = workspace.symbols[at].next) {
    tokens.push_back(workspace.symbols[at].token);
  }
}

}  // namespace tetrad
