#include "chat/jinja/filters.h"

namespace tetrad::jinja {

Function find_filter(std::string_view name) {
  for (const auto part : {text_filters(), markup_filters(), number_filters(), value_filters(),
                          sequence_filters(), grouping_filters(), selection_filters()}) {
    if (const Function found = find_function(part, name)) return found;
  }
  return nullptr;
}

}  // namespace tetrad::jinja
