#include "fake_model.h"

#include <limits>
#include <stdexcept>

namespace tetrad::simulator {
namespace {

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 31)) * 0x7FB5D329728EA185ull;
  x = (x ^ (x >> 27)) * 0x81DADEF4BC2DD44Dull;
  return x ^ (x >> 33);
}

}  // namespace

uint64_t FakeModel::fingerprint(uint64_t before, TokenId token) {
  return mix(before * 3 + static_cast<uint64_t>(token) + 1);
}

/// Mostly the last token decides, so that answers repeat themselves and drafts are sometimes right.
void FakeModel::logits(uint64_t fingerprint, TokenId token, std::span<float> out) {
  const uint64_t source = fingerprint % 4 == 0 ? fingerprint : static_cast<uint64_t>(token);
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<float>(mix(source + 977 * i) % 1024) / 128;
}

void FakeModel::write(const Batch& batch, const SequenceSlice& slice) {
  for (int64_t i = 0; i < slice.query_len; ++i) {
    const auto row = static_cast<size_t>(slice.query_start + i);
    const int64_t position = slice.context_len + i;
    Slot& target = slot(slice, position);
    if (batch.positions[row] != position ||
        &target != &slots_[static_cast<size_t>(batch.slot_mapping[row])]) {
      throw std::logic_error("positions, slot_mapping and block_table disagree");
    }
    const uint64_t before = position == 0 ? 0 : slot(slice, position - 1).fingerprint;
    const TokenId token = batch.token_ids[row];
    target = {.position = position, .token = token, .fingerprint = fingerprint(before, token)};
  }
}

/// As attention does, after all rows have written: reads everything before the last token.
void FakeModel::check(const SequenceSlice& slice) {
  uint64_t before = 0;
  for (int64_t position = 0; position < slice.context_len + slice.query_len; ++position) {
    const Slot& read = slot(slice, position);
    if (read.position != position || read.fingerprint != fingerprint(before, read.token))
      throw std::logic_error("the cache holds something else than the sequence's own tokens");
    before = read.fingerprint;
  }
}

Result<Activations> FakeModel::forward(const Batch& batch) {
  if (num_failures_ > 0) {
    --num_failures_;
    return fail(ErrorCode::resource_exhausted, "out of memory, as the simulator wants it");
  }
  for (const SequenceSlice& slice : batch.sequences)
    write(batch, slice);
  for (const SequenceSlice& slice : batch.sequences)
    check(slice);
  logits_.resize(batch.logits_rows.size() * static_cast<size_t>(kVocabSize));
  const Activations out{logits_.data(), static_cast<int64_t>(batch.logits_rows.size()), kVocabSize};
  for (int64_t i = 0; i < out.rows; ++i) {
    const auto row = static_cast<size_t>(batch.logits_rows[static_cast<size_t>(i)]);
    const Slot& read = slots_[static_cast<size_t>(batch.slot_mapping[row])];
    logits(read.fingerprint, read.token, out.row_span(i));
  }
  if (spoil_ && out.rows > 0) {
    *out.row(out.rows - 1) = std::numeric_limits<float>::quiet_NaN();
    spoil_ = false;
  }
  return out;
}

}  // namespace tetrad::simulator
