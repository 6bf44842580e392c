#pragma once

#include "base/error.h"
#include "parallel/communicator.h"

namespace tetrad::collectives {

/// Every rank says how it fared; where one failed, all fail with the first one's error. So all
/// ranks go on or give up together.
Result<void> agree(parallel::Communicator& ranks, const Result<void>& mine);
/// The same of what each has made for itself.
template <class T>
Result<void> agree(parallel::Communicator& ranks, const Result<T>& mine) {
  return agree(ranks, mine ? Result<void>() : Result<void>(tl::unexpected(mine.error())));
}

}  // namespace tetrad::collectives
