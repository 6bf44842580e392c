#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bench/random.h"

namespace tetrad::bench {

std::string_view random_word(Random& random);
/// `count` words with blanks between them.
std::string random_words(Random& random, int64_t count);
/// `count` words as numbered lines of a program, the way a tool shows a file.
std::string random_code(Random& random, int64_t count);

}  // namespace tetrad::bench
