#pragma once

#include <cstdint>

namespace tetrad {

/// Row of the embedding table; never negative.
using TokenId = int32_t;

/// A tokenizer.json with larger ids is refused: the tables by id would take memory without bound.
/// The largest vocabularies in use have some 260 thousand tokens.
inline constexpr TokenId kMaxTokenId = (1 << 22) - 1;

}  // namespace tetrad
