#pragma once

#include <optional>
#include <string_view>

#include "grammar/automaton.h"

namespace tetrad::grammar {

/// The texts of a "format" of JSON Schema: date-time, date, time, duration, email, hostname, ipv4,
/// ipv6 or uuid. Never more than its RFC allows; less where the RFC is more generous than the
/// validators that clients use. None: another format, which is a remark that constrains nothing.
std::optional<Result<Automaton>> format_texts(std::string_view format);

}  // namespace tetrad::grammar
