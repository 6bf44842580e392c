#pragma once

#include <string_view>

#include "grammar/automaton.h"
#include "grammar/code_point_dfa.h"

namespace tetrad::grammar {

/// The automaton over the bytes of what `dfa` accepts, with its labels; `suffix` ends every text.
Result<ByteDfa> encode_bytes(const CodePointDfa& dfa, Encoding encoding, std::string_view suffix,
                             AutomatonLimits limits);

}  // namespace tetrad::grammar
