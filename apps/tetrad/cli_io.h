#pragma once

// What the verbs share: JSON lines in and out, and errors for a person on stderr.

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

namespace tetrad {

/// Exit statuses of the program.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;  // something outside was wrong; said on stderr
inline constexpr int kExitUsage = 2;   // the command line was wrong

/// Prints "tetrad: <message>" to stderr and returns the exit status: kExitUsage where a value of a
/// flag makes no sense (the error names the flag, and the message then does too), else kExitFailed.
int report(const Error& error);

/// Columns of the terminal on stderr, less one so that a full line does not wrap; 79 where they are
/// not known.
int terminal_columns();

/// An error of reading what a flag says, with the flag's name.
Error at_flag(Error error, std::string_view flag);

/// Reads JSON objects, one a line, from `path` ("-": standard input), skips blank lines, and writes
/// what `handle` returns as one line to stdout. A bad line is reported with its number and becomes
/// {"error": …} in the output, so that lines in and out keep their order; the exit status is then
/// kExitFailed.
int for_each_json_line(const std::string& path,
                       const std::function<Result<json::object>(const json::object&)>& handle);

/// The answer to a line that is still being computed; calling it waits for it.
using PendingAnswer = std::function<json::object()>;

/// As for_each_json_line, with up to `ahead` lines begun before the answer to the first is written.
int for_each_json_line_ahead(
    const std::string& path, size_t ahead,
    const std::function<Result<PendingAnswer>(const json::object&)>& begin);

/// A line in the log for each field of `object` that is not in `known`. Not an error: lines may
/// carry their writer's own names and notes along.
void warn_of_unknown_fields(const json::object& object,
                            std::initializer_list<std::string_view> known);

/// The member `key` of `object` as text, array or ids, or an error that names the key and its kind.
Result<std::string> string_field(const json::object& object, std::string_view key);
Result<json::array> array_field(const json::object& object, std::string_view key);
Result<std::vector<int32_t>> ids_field(const json::object& object, std::string_view key);

}  // namespace tetrad
