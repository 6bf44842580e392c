#pragma once

#include <span>
#include <string_view>

#include "chat/jinja/object.h"

namespace tetrad::jinja {

/// The function behind `value | name`, or null.
Function find_filter(std::string_view name);

// The filters by file.
std::span<const NamedFunction> text_filters();
std::span<const NamedFunction> markup_filters();
std::span<const NamedFunction> number_filters();
std::span<const NamedFunction> value_filters();
std::span<const NamedFunction> sequence_filters();
std::span<const NamedFunction> grouping_filters();
std::span<const NamedFunction> selection_filters();

}  // namespace tetrad::jinja
