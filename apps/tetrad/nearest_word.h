#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tetrad {

/// The candidate with the fewest letters to change, insert or remove; "" if even that is more than
/// a third of the word.
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace tetrad
