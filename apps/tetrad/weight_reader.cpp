#include "weight_reader.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/free_memory.h"
#include "base/log.h"
#include "base/mapped_file.h"

namespace tetrad {
namespace {

/// Between two of these the thread looks whether it shall stop.
constexpr size_t kBytesAtOnce = size_t{64} << 20;

void read_all(const std::stop_token& stop, const Checkpoint& checkpoint) {
  for (const MappedFile& file : checkpoint.files()) {
    for (size_t begin = 0; begin < file.bytes().size() && !stop.stop_requested();
         begin += kBytesAtOnce) {
      const size_t count = std::min(kBytesAtOnce, file.bytes().size() - begin);
      file.read_ahead(file.bytes().subspan(begin, count));
    }
  }
}

}  // namespace

WeightReader::WeightReader(std::shared_ptr<const Checkpoint> checkpoint, Use use) {
  const int64_t needed = checkpoint->total_bytes();
  const int64_t free = free_memory();
  if (free > 0 && needed > free) {
    if (use == Use::once) return;
    log::warn(
        "the weights take {:.1f} GB and {:.1f} GB of memory are free: they are read from the files "
        "again and again, which is slow",
        static_cast<double>(needed) / 1e9, static_cast<double>(free) / 1e9);
    return;
  }
  thread_ = std::jthread([checkpoint = std::move(checkpoint)](const std::stop_token& stop) {
    read_all(stop, *checkpoint);
  });
}

}  // namespace tetrad
