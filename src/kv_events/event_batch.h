#pragma once

// The changes of the prefix cache in one step, on their way to subscribers.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace tetrad::kv_events {

struct KvEvent {
  enum class Kind : uint8_t { stored, removed, cleared };

  Kind kind = Kind::cleared;
  std::vector<uint64_t> hashes;    // of blocks, in the order of their sequence
  std::optional<uint64_t> parent;  // of the first one stored; none where a sequence begins
  std::vector<TokenId> tokens;     // of those stored: [hashes.size(), kKvBlockSize]
};

struct KvEventBatch {
  uint64_t sequence = 0;  // 0, 1, 2, …; one that is missing was lost
  double timestamp = 0;   // seconds since 1970
  std::vector<KvEvent> events;
};

/// MessagePack as vLLM 0.26 sends it: [timestamp, [event, …], data_parallel_rank], each event a map
/// with its "type" and the fields by name.
std::string encode(const KvEventBatch& batch);

/// 8 bytes, big-endian.
std::string encode_sequence(uint64_t sequence);
/// None if these are not 8 bytes.
std::optional<uint64_t> decode_sequence(std::string_view bytes);

}  // namespace tetrad::kv_events
