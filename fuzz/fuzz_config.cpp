// config.json, generation_config.json and model.safetensors.index.json from anywhere.

#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "checkpoint/architecture.h"
#include "checkpoint/config.h"
#include "checkpoint/quantization_config.h"
#include "checkpoint/shard_index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto value =
      tetrad::parse_json(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!value) return 0;
  (void)tetrad::GenerationDefaults::parse(*value);
  (void)tetrad::ModelConfig::parse(*value);
  if (const auto* object = value->if_object()) (void)tetrad::QuantizationConfig::parse(*object);
  (void)tetrad::parse_shard_index(*value);
  return 0;
}
