#pragma once

#include <memory>

#include "chat/jinja/scope.h"

namespace tetrad::jinja {

/// range, dict, namespace, cycler, joiner, raise_exception and strftime_now.
std::shared_ptr<const Scope> global_scope();

}  // namespace tetrad::jinja
