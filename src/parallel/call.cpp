#include "parallel/call.h"

namespace tetrad::parallel {

std::string describe(const Call& call) {
  switch (call.kind) {
    case CallKind::all_reduce:
      return fmt::format("a sum of {} values", call.bytes / sizeof(float));
    case CallKind::all_gather:
      return fmt::format("a gathering of {} bytes", call.bytes);
    case CallKind::broadcast:
      return fmt::format("a broadcast of {} bytes from rank {}", call.bytes, call.root);
    case CallKind::barrier:
      return "a barrier";
    case CallKind::leave:
      return "its leave";
  }
  return "an unknown call";
}

Result<void> check_same_calls(std::span<const Call> calls) {
  for (size_t rank = 1; rank < calls.size(); ++rank) {
    if (calls[rank] == calls[0]) continue;
    return fail(ErrorCode::internal, "rank {} comes to {}, and rank 0 to {}", rank,
                describe(calls[rank]), describe(calls[0]));
  }
  return {};
}

}  // namespace tetrad::parallel
