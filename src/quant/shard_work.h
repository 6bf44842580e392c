#pragma once

// One shard of the checkpoint that is being made: written module by module, never held in memory.

#include <cstdint>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "quant/module_encoder.h"
#include "quant/quantize_journal.h"
#include "quant/quantize_plan.h"

namespace tetrad {

/// What the work on all shards has in common.
struct ShardTools {
  const Checkpoint& source;
  ModuleEncoder& encoder;
  ThreadPool& pool;
  QuantizeJournal& journal;
  /// Before each module that is to be made; an error ends the work at this point.
  std::function<Result<void>()> before_module;
  /// After each module, whether it was made now or stands there already.
  std::function<void(const PlannedModule&, const FinishedModule&, bool was_there)> on_module;
};

/// Makes `path`, or what an earlier run has not made of it: what the journal says of finished
/// modules is believed where the bytes have the digest. `shard` is the number under which the
/// journal has it. An error leaves "<path>.tmp" for the next run to continue.
Result<void> make_shard(const ShardTools& tools, const PlannedShard& planned, int64_t shard,
                        const std::filesystem::path& path);

/// Bytes of a carried tensor that are looked at and written at a time.
inline constexpr size_t kCopyBytes = size_t{4} << 20;

}  // namespace tetrad
