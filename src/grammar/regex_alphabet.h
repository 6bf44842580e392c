#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "grammar/code_point_set.h"

namespace tetrad::grammar {

/// The code points in classes that no set of a pattern tells apart.
struct RegexAlphabet {
  struct Piece {
    CodePointRange range;
    int32_t class_number;
  };
  std::vector<Piece> pieces;                     // ascending; code points of no set are left out
  std::vector<std::vector<int32_t>> classes_of;  // [set]
  size_t num_classes = 0;
};

/// Error (ErrorCode::invalid_argument): too many different sets.
Result<RegexAlphabet> make_alphabet(std::span<const CodePointSet> sets);

}  // namespace tetrad::grammar
