#pragma once

// HTML escaping: the `escape`, `safe` and `forceescape` filters.

#include <string>
#include <string_view>

#include "chat/jinja/value.h"

namespace tetrad::jinja {

/// str(value) with & < > ' " as entities, marked as escaped. Markup stays as it is.
Result<Value> escape_html(const Value& value, Budget& budget);

/// Escapes even what is marked as escaped.
Result<Value> force_escape_html(const Value& value, Budget& budget);

}  // namespace tetrad::jinja
