#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "grammar/code_point_set.h"

namespace tetrad::grammar {

constexpr size_t kMaxPatternBytes = 64 * 1024;
constexpr int kMaxPatternDepth = 200;

/// A node of a pattern's syntax tree.
struct RegexNode {
  enum class Kind {
    set,       // one character of a set
    begin,     // the text's beginning
    end,       // the text's end
    sequence,  // its children, one behind the other
    choice,    // one of its children
    repeat,    // its only child, min to max times
  };
  static constexpr int64_t kUnbounded = -1;

  Kind kind = Kind::sequence;
  int32_t set = -1;  // in RegexAst::sets
  std::vector<int32_t> children;
  int64_t min = 0;
  int64_t max = kUnbounded;
};

/// The tree is at most a small multiple of kMaxPatternDepth deep.
struct RegexAst {
  std::vector<RegexNode> nodes;
  std::vector<CodePointSet> sets;  // no two are the same
  int32_t root = 0;
};

/// Errors, all ErrorCode::invalid_argument: see parse_regex().
Result<RegexAst> parse_regex_syntax(std::string_view pattern);

}  // namespace tetrad::grammar
