#include <nlohmann/json.hpp>

#include "kernels/batch.h"
#include "kv_events/event_batch.h"

namespace tetrad::kv_events {
namespace {

using Packed = nlohmann::ordered_json;

constexpr int kDataParallelRank = 0;
/// What vLLM calls the memory that the model reads its cache from, whatever the device.
constexpr const char* kMedium = "GPU";

Packed stored(const KvEvent& event) {
  Packed parent = nullptr;
  if (event.parent) parent = *event.parent;
  return {{"type", "BlockStored"},
          {"block_hashes", event.hashes},
          {"parent_block_hash", std::move(parent)},
          {"token_ids", event.tokens},
          {"block_size", kKvBlockSize},
          {"lora_id", nullptr},
          {"medium", kMedium},
          {"lora_name", nullptr}};
}

Packed as_map(const KvEvent& event) {
  switch (event.kind) {
    case KvEvent::Kind::stored:
      return stored(event);
    case KvEvent::Kind::removed:
      return {{"type", "BlockRemoved"}, {"block_hashes", event.hashes}, {"medium", kMedium}};
    case KvEvent::Kind::cleared:
      return {{"type", "AllBlocksCleared"}};
  }
  return {};
}

}  // namespace

std::string encode(const KvEventBatch& batch) {
  Packed events = Packed::array();
  for (const KvEvent& event : batch.events)
    events.push_back(as_map(event));
  Packed whole = Packed::array();
  whole.push_back(batch.timestamp);
  whole.push_back(std::move(events));
  whole.push_back(kDataParallelRank);
  std::string bytes;
  Packed::to_msgpack(whole, bytes);
  return bytes;
}

}  // namespace tetrad::kv_events
