#pragma once

// Ranks that compute one model together: what they tell each other. Every rank makes the same calls
// in the same order; a call returns when all ranks have made it.

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tetrad::parallel {

/// One rank's end. One caller at a time.
///
/// No call waits for ever. Where a rank does not come within the group's deadline, has left, or
/// makes another call than the others, those who notice get an error that names it, and every later
/// call of theirs fails at once with the same one: what was computed together is lost.
class Communicator {
 public:
  virtual ~Communicator() = default;

  /// 0 to size() - 1.
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// What carries the messages, for logs: "in-process", "MPI (Open MPI v4.1.4)".
  virtual std::string_view name() const = 0;

  /// values[i] = the sum of values[i] of all ranks, added in the order of the ranks: the same bits
  /// on each of them, whoever came first.
  virtual Result<void> all_reduce_sum(std::span<float> values) = 0;

  /// all = `mine` of rank 0, then that of rank 1, and so on. Every rank brings as many bytes.
  virtual Result<void> all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;

  /// bytes = those of rank `root`. Every rank has as many.
  virtual Result<void> broadcast(std::span<std::byte> bytes, int root) = 0;

  virtual Result<void> barrier() = 0;

  /// From the next call on: how long this rank waits for the others. Called between calls.
  virtual void set_deadline(std::chrono::milliseconds deadline) = 0;

  /// Somebody has found out that a rank is gone: the call that is waiting, if there is one, and all
  /// later ones of this rank fail with this. Thread-safe; the first reason counts.
  virtual void give_up(std::string reason) = 0;
  /// This rank does not come any more: the others' calls that wait for it fail, and all of its own
  /// from here on. Destruction says so, too.
  virtual void leave() = 0;

  /// `call` is made once, as soon as it is known that this rank's calls fail, on any thread: by it
  /// ends what waits elsewhere for a rank that does not come. An empty one takes it back; when that
  /// returns it is not being made either. Thread-safe.
  virtual void when_broken(std::function<void()> call) = 0;

  /// For memory that ranks share: waits until all ranks have called this as often as this one, or
  /// have ended, whatever went wrong before. False: some did not come within the deadline, and may
  /// still use it.
  virtual bool wait_for_parting() = 0;
};

/// all_gather of values that may be copied as bytes. all: [size(), mine.size()]
template <class T>
Result<void> all_gather_values(Communicator& ranks, std::span<const T> mine, std::span<T> all) {
  return ranks.all_gather(std::as_bytes(mine), std::as_writable_bytes(all));
}

}  // namespace tetrad::parallel
