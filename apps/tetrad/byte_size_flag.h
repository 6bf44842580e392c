#pragma once

#include <CLI/CLI.hpp>

namespace tetrad {

/// A size in the one form every verb takes: "8GiB" and "11.35GiB" (powers of 1024), "8GB" (powers
/// of 1000), or a bare number of bytes. Turns the text into that number.
CLI::Validator as_byte_size();

}  // namespace tetrad
