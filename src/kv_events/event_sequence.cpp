#include "kv_events/event_batch.h"

namespace tetrad::kv_events {

std::string encode_sequence(uint64_t sequence) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8)
    bytes += static_cast<char>(sequence >> shift);
  return bytes;
}

std::optional<uint64_t> decode_sequence(std::string_view bytes) {
  if (bytes.size() != sizeof(uint64_t)) return std::nullopt;
  uint64_t sequence = 0;
  for (const char byte : bytes)
    sequence = sequence << 8 | static_cast<unsigned char>(byte);
  return sequence;
}

}  // namespace tetrad::kv_events
