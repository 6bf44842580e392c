#pragma once

// Messages of rank 0 to all others: authenticated, numbered, no longer than agreed.
//
// A message is, in the byte order of x86: its MAC, 32 bytes; then what the MAC is of: magic
// "TRNK", uint32 version, uint32 kind, uint32 bytes of the payload, uint64 number; then the
// payload. It goes in one broadcast of kFrameBytes, filled up with zeros, and if it is longer the
// rest in a second.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "parallel/communicator.h"
#include "parallel/message_key.h"

namespace tetrad::parallel {

/// Room for a step in which a dozen sequences get a token each.
inline constexpr size_t kFrameBytes = 1024;

struct MessageHeader {
  uint32_t kind = 0;
  uint32_t payload_bytes = 0;
  uint64_t number = 0;

  static constexpr size_t kBytes = 24;
  void write(std::span<std::byte, kBytes> bytes) const;
  /// Errors: another magic or version, more payload than `max_payload_bytes`.
  static Result<MessageHeader> read(std::span<const std::byte, kBytes> bytes,
                                    size_t max_payload_bytes);
};

/// One rank's end; every call is made by all ranks at once. One caller at a time.
class RankMessages {
 public:
  RankMessages(std::shared_ptr<Communicator> ranks, const MessageKey& key)
      : ranks_(std::move(ranks)), key_(key) {}

  Communicator& ranks() { return *ranks_; }

  /// Of rank 0. Errors: the communicator's; internal, where the payload is longer than agreed.
  Result<void> send(uint32_t kind, std::span<const std::byte> payload);

  struct Message {
    uint32_t kind = 0;
    std::span<const std::byte> payload;  // valid until the next call
  };
  /// Of the others. Errors: the communicator's; corrupt_data, where the message is not of rank 0,
  /// is longer than agreed, or is not the next one.
  Result<Message> receive();

  /// How long payloads may be from now on; kFirstPayloadBytes at first, and always.
  void set_max_payload_bytes(size_t bytes) {
    max_payload_bytes_ = std::max(bytes, kFirstPayloadBytes);
  }
  static constexpr size_t kFirstPayloadBytes = 256;

 private:
  std::shared_ptr<Communicator> ranks_;
  MessageKey key_;
  size_t max_payload_bytes_ = kFirstPayloadBytes;
  uint64_t next_number_ = 0;
  std::vector<std::byte> message_;
};

}  // namespace tetrad::parallel
