// The choices of a GPU's sizes, from anywhere: what is read is within its ranges, and reads the
// same again.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/json.h"
#include "kernels/gpu/gpu_tuning.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using tetrad::gpu::GpuTuningFile;
  const auto file = GpuTuningFile::parse({reinterpret_cast<const char*>(data), size});
  if (!file) return 0;
  for (const tetrad::gpu::GpuTuningField& field : tetrad::gpu::gpu_tuning_fields()) {
    const uint32_t value = file->choices.*field.member;
    if (value < field.least || value > field.most) std::abort();
  }
  const auto again = GpuTuningFile::parse(tetrad::to_json_text(file->to_json()));
  if (!again || again->choices != file->choices || again->card != file->card ||
      again->steps.size() != file->steps.size())
    std::abort();
  return 0;
}
