#include "quant/shard_work.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "base/digest.h"
#include "base/pending_file.h"

namespace tetrad {
namespace {

namespace fs = std::filesystem;

/// How much may be lost to a power cut.
constexpr uint64_t kFlushBytes = uint64_t{256} << 20;

bool is_there(const fs::path& path, uint64_t bytes) {
  std::error_code error;
  return fs::file_size(path, error) == bytes && !error;
}

template <class Bits>
std::optional<size_t> find_bits(std::span<const std::byte> bytes, Bits exponent) {
  const size_t count = bytes.size() / sizeof(Bits);
  for (size_t i = 0; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, bytes.data() + i * sizeof(Bits), sizeof(Bits));
    if ((bits & exponent) == exponent) return i;
  }
  return std::nullopt;
}

/// The first element that is NaN or infinite, for the dtypes that dense weights come in.
std::optional<size_t> first_not_finite(DType dtype, std::span<const std::byte> bytes) {
  switch (dtype) {
    case DType::f32:
      return find_bits<uint32_t>(bytes, 0x7F800000u);
    case DType::f16:
      return find_bits<uint16_t>(bytes, 0x7C00u);
    case DType::bf16:
      return find_bits<uint16_t>(bytes, 0x7F80u);
    default:
      return std::nullopt;
  }
}

class ShardWork {
 public:
  ShardWork(const ShardTools& tools, const PlannedShard& planned, int64_t shard,
            SafetensorsLayout layout, PendingFile file)
      : tools_(tools),
        planned_(planned),
        shard_(shard),
        layout_(std::move(layout)),
        file_(std::move(file)) {}

  Result<void> run() {
    TETRAD_TRY(file_.reserve(layout_.file_bytes()));
    TETRAD_TRY(file_.write(layout_.start().data(), layout_.start().size()));
    TETRAD_ASSIGN(size_t next, skip_finished());
    for (; next < planned_.modules.size(); ++next) {
      const PlannedModule& module = planned_.modules[next];
      TETRAD_TRY(tools_.before_module());
      TETRAD_TRY(make(module));
      tools_.on_module(module, tools_.journal.modules_of(shard_).back(), false);
      if (unflushed_ >= kFlushBytes) TETRAD_TRY(flush());
    }
    return file_.commit();
  }

 private:
  /// How many modules stand in the file, which is where to go on.
  Result<size_t> skip_finished() {
    const std::vector<FinishedModule> finished = tools_.journal.modules_of(shard_);
    const size_t most = std::min(finished.size(), planned_.modules.size());
    size_t count = 0;
    while (count < most) {
      const PlannedModule& module = planned_.modules[count];
      if (finished[count].name != module.name) break;
      TETRAD_ASSIGN(const std::string digest, digest_in_file(module));
      if (finished[count].digest != digest) break;
      tools_.on_module(module, finished[count], true);
      next_tensor_ += module.tensors.size();
      ++count;
    }
    tools_.journal.forget_modules(shard_, count);
    return count;
  }

  Result<std::string> digest_in_file(const PlannedModule& module) const {
    Digest digest;
    std::vector<std::byte> piece;
    for (size_t i = 0; i < module.tensors.size(); ++i) {
      const uint64_t begin = layout_.offset_of(next_tensor_ + i);
      const uint64_t size = module.tensors[i].bytes();
      for (uint64_t done = 0; done < size; done += piece.size()) {
        piece.resize(std::min<uint64_t>(kCopyBytes, size - done));
        TETRAD_TRY(file_.read_at(begin + done, piece));
        digest.add(piece);
      }
    }
    return digest.finish();
  }

  Result<void> make(const PlannedModule& module) {
    digest_ = Digest();
    std::optional<QuantizationLoss> loss;
    if (module.measures_kv_scales) {
      TETRAD_TRY(write_kv_scales(module));
    } else if (module.source) {
      TETRAD_ASSIGN(loss, write_encoded(module));
    } else {
      for (const TensorHeader& tensor : module.tensors)
        TETRAD_TRY(copy(module, tensor));
    }
    for (const std::string& name : module.source_tensors)
      tools_.source.release(name);
    return tools_.journal.add(shard_, {module.name, digest_.finish(), loss});
  }

  Result<void> write_kv_scales(const PlannedModule& module) {
    TETRAD_ASSIGN(const KvScales scales, tools_.encoder.kv_scales(module.layer));
    for (const float scale : {scales.k, scales.v})
      TETRAD_TRY(put(std::as_bytes(std::span(&scale, 1))));
    return {};
  }

  Result<QuantizationLoss> write_encoded(const PlannedModule& module) {
    // NOLINTNEXTLINE(bugprone-unchecked-optional-access): what is encoded has a source
    auto encoded = tools_.encoder.encode(module, *module.source, tools_.pool);
    if (!encoded) return located(std::move(encoded.error()), module.source_tensors.front());
    if (encoded->tensors.size() != module.tensors.size()) {
      return fail(ErrorCode::internal, "module \"{}\" was encoded in {} tensors, not in {}",
                  module.name, encoded->tensors.size(), module.tensors.size());
    }
    for (size_t i = 0; i < module.tensors.size(); ++i) {
      const TensorHeader& tensor = module.tensors[i];
      if (encoded->tensors[i].size() != tensor.bytes()) {
        return fail(ErrorCode::internal, "tensor \"{}\" was encoded in {} bytes, not in {}",
                    tensor.name, encoded->tensors[i].size(), tensor.bytes());
      }
      TETRAD_TRY(put(encoded->tensors[i]));
    }
    return encoded->loss;
  }

  Result<void> copy(const PlannedModule& module, const TensorHeader& tensor) {
    const TensorView& view = *tools_.source.find(tensor.name);
    const uint64_t begin = layout_.offset_of(next_tensor_++);
    for (size_t done = 0; done < view.bytes.size(); done += kCopyBytes) {
      const auto piece = view.bytes.subspan(done, std::min(kCopyBytes, view.bytes.size() - done));
      if (module.must_be_finite) {
        if (const auto at = first_not_finite(view.dtype, piece)) {
          return located(Error{ErrorCode::corrupt_data,
                               fmt::format("tensor \"{}\": element {} is not finite", tensor.name,
                                           done / dtype_size(view.dtype) + *at)},
                         tensor.name);
        }
      }
      TETRAD_TRY(write(begin + done, piece));
      tools_.source.release(tensor.name);
    }
    return {};
  }

  /// The bytes of the next tensor.
  Result<void> put(std::span<const std::byte> bytes) {
    return write(layout_.offset_of(next_tensor_++), bytes);
  }

  Result<void> write(uint64_t offset, std::span<const std::byte> bytes) {
    TETRAD_TRY(file_.write_at(offset, bytes));
    digest_.add(bytes);
    unflushed_ += bytes.size();
    return {};
  }

  /// The file first: what the journal says must be true after a power cut, or be found out by its
  /// digest.
  Result<void> flush() {
    unflushed_ = 0;
    TETRAD_TRY(file_.flush());
    return tools_.journal.flush();
  }

  tl::unexpected<Error> located(Error error, const std::string& tensor) const {
    const fs::path shard = tools_.source.folder() / tools_.source.shard_of(tensor);
    return tl::unexpected(std::move(error).in(shard.string()));
  }

  const ShardTools& tools_;
  const PlannedShard& planned_;
  int64_t shard_;
  SafetensorsLayout layout_;
  PendingFile file_;
  size_t next_tensor_ = 0;  // by its index in the layout
  Digest digest_;           // of the module in work
  uint64_t unflushed_ = 0;
};

/// Whether an earlier run has finished the shard, and it still is what it was.
Result<bool> is_finished(const ShardTools& tools, const PlannedShard& planned, int64_t shard,
                         const fs::path& path) {
  const FinishedFile* file = tools.journal.file_of(shard);
  const std::vector<FinishedModule>& modules = tools.journal.modules_of(shard);
  if (file == nullptr || modules.size() != planned.modules.size() || !is_there(path, file->bytes)) {
    return false;
  }
  TETRAD_ASSIGN(const std::string digest, digest_of_file(path));
  if (digest != file->digest) return false;
  for (size_t i = 0; i < modules.size(); ++i)
    tools.on_module(planned.modules[i], modules[i], true);
  return true;
}

/// A shard that was renamed without being entered in the journal, or that has been damaged since,
/// becomes a file to be continued again.
Result<void> reopen(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  fs::rename(path, PendingFile::temporary_of(path), error);
  if (error) return fail(ErrorCode::io, "cannot rename {}: {}", path.string(), error.message());
  return {};
}

}  // namespace

Result<void> make_shard(const ShardTools& tools, const PlannedShard& planned, int64_t shard,
                        const fs::path& path) {
  TETRAD_ASSIGN(const bool finished, is_finished(tools, planned, shard, path));
  if (finished) return {};
  TETRAD_TRY(reopen(path));
  std::vector<TensorHeader> tensors;
  for (const PlannedModule& module : planned.modules)
    tensors.insert(tensors.end(), module.tensors.begin(), module.tensors.end());
  TETRAD_ASSIGN(SafetensorsLayout layout, SafetensorsLayout::make(std::move(tensors)));
  const uint64_t bytes = layout.file_bytes();
  TETRAD_ASSIGN(PendingFile file, PendingFile::resume(path));
  TETRAD_TRY(ShardWork(tools, planned, shard, std::move(layout), std::move(file)).run());
  TETRAD_ASSIGN(std::string digest, digest_of_file(path));
  TETRAD_TRY(tools.journal.add(shard, FinishedFile{bytes, std::move(digest)}));
  return tools.journal.flush();
}

}  // namespace tetrad
