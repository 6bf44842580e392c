#include "parallel/rank_messages.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace tetrad::parallel {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are sent as they are");

constexpr uint32_t kMagic = 0x4b'4e'52'54;  // "TRNK"
constexpr uint32_t kVersion = 1;
constexpr size_t kHeadBytes = kMacBytes + MessageHeader::kBytes;

template <class T>
T number_at(std::span<const std::byte> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <class T>
void put(std::span<std::byte> bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

}  // namespace

void MessageHeader::write(std::span<std::byte, kBytes> bytes) const {
  put(bytes, 0, kMagic);
  put(bytes, 4, kVersion);
  put(bytes, 8, kind);
  put(bytes, 12, payload_bytes);
  put(bytes, 16, number);
}

Result<MessageHeader> MessageHeader::read(std::span<const std::byte, kBytes> bytes,
                                          size_t max_payload_bytes) {
  if (number_at<uint32_t>(bytes, 0) != kMagic)
    return fail(ErrorCode::corrupt_data, "what came from rank 0 is no message of tetrad's");
  if (const auto version = number_at<uint32_t>(bytes, 4); version != kVersion) {
    return fail(ErrorCode::corrupt_data, "a message from rank 0 has version {}, and not {}",
                version, kVersion);
  }
  const MessageHeader header{.kind = number_at<uint32_t>(bytes, 8),
                             .payload_bytes = number_at<uint32_t>(bytes, 12),
                             .number = number_at<uint64_t>(bytes, 16)};
  if (header.payload_bytes > max_payload_bytes) {
    return fail(ErrorCode::corrupt_data, "a message from rank 0 has {} bytes, and {} were agreed",
                header.payload_bytes, max_payload_bytes);
  }
  return header;
}

Result<void> RankMessages::send(uint32_t kind, std::span<const std::byte> payload) {
  if (payload.size() > max_payload_bytes_) {
    return fail(ErrorCode::internal,
                "a message of {} bytes for the other ranks, where {} are "
                "agreed",
                payload.size(), max_payload_bytes_);
  }
  const size_t size = kHeadBytes + payload.size();
  message_.assign(std::max(size, kFrameBytes), std::byte{0});
  const MessageHeader header{.kind = kind,
                             .payload_bytes = static_cast<uint32_t>(payload.size()),
                             .number = next_number_++};
  const std::span<std::byte> message(message_);
  header.write(message.subspan<kMacBytes, MessageHeader::kBytes>());
  std::ranges::copy(payload, message.begin() + kHeadBytes);
  const auto mac = key_.mac_of(message.subspan(kMacBytes, size - kMacBytes));
  std::ranges::copy(mac, message.begin());
  TETRAD_TRY(ranks_->broadcast(message.first(kFrameBytes), 0));
  if (size <= kFrameBytes) return {};
  return ranks_->broadcast(message.subspan(kFrameBytes), 0);
}

Result<RankMessages::Message> RankMessages::receive() {
  message_.resize(kFrameBytes);
  TETRAD_TRY(ranks_->broadcast(message_, 0));
  TETRAD_ASSIGN(const MessageHeader header,
                MessageHeader::read(std::span(message_).subspan<kMacBytes, MessageHeader::kBytes>(),
                                    max_payload_bytes_));
  const size_t size = kHeadBytes + header.payload_bytes;
  if (size > kFrameBytes) {
    message_.resize(size);
    TETRAD_TRY(ranks_->broadcast(std::span(message_).subspan(kFrameBytes), 0));
  }
  const std::span<const std::byte> message(message_);
  if (!key_.verify(message.subspan(kMacBytes, size - kMacBytes), message.first<kMacBytes>()))
    return fail(ErrorCode::corrupt_data, "a message that is said to be rank 0's is not");
  if (header.number != next_number_) {
    return fail(ErrorCode::corrupt_data, "message {} from rank 0 comes where {} is the next",
                header.number, next_number_);
  }
  ++next_number_;
  return Message{.kind = header.kind, .payload = message.subspan(kHeadBytes, header.payload_bytes)};
}

}  // namespace tetrad::parallel
