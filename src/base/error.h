#pragma once

// The error type of every boundary where failure is normal: files, requests, checkpoints.
// Libraries return it; only apps/ prints it and chooses an exit status.

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace tetrad {

enum class ErrorCode {
  invalid_argument,    // the caller asked for something that makes no sense (HTTP 400)
  not_found,           // a file, tensor or model name that does not exist (HTTP 404)
  corrupt_data,        // outside data that contradicts itself or its specification
  unsupported,         // understood, but not implemented here
  resource_exhausted,  // memory, blocks, queue places or a configured limit (HTTP 429 or 503)
  cancelled,           // the client went away or the server is stopping
  io,                  // the operating system refused
  internal,            // a bug in tetrad
};

struct Error {
  ErrorCode code = ErrorCode::internal;
  /// One sentence for a person: what is wrong, where (file, tensor, field, offset), what to do.
  std::string message;
  /// The request field or command-line flag at fault, "" where there is none.
  std::string param;

  /// The same error with "<where>: " put in front of its message.
  Error in(std::string_view where) && {
    message = fmt::format("{}: {}", where, message);
    return std::move(*this);
  }
};

template <class T>
using Result = tl::expected<T, Error>;

/// return fail(ErrorCode::io, "cannot open {}", path);
template <class... Args>
tl::unexpected<Error> fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(
      Error{code, fmt::format(format, std::forward<Args>(args)...), std::string()});
}

/// As fail(ErrorCode::invalid_argument, …), naming the request field at fault.
template <class... Args>
tl::unexpected<Error> fail_param(std::string_view param, fmt::format_string<Args...> format,
                                 Args&&... args) {
  return tl::unexpected<Error>(Error{ErrorCode::invalid_argument,
                                     fmt::format(format, std::forward<Args>(args)...),
                                     std::string(param)});
}

}  // namespace tetrad

#define TETRAD_CONCAT_INNER(a, b) a##b
#define TETRAD_CONCAT(a, b) TETRAD_CONCAT_INNER(a, b)

/// Leaves the function with the error of a Result<…> expression; its value, if any, is dropped.
#define TETRAD_TRY(expression)                                               \
  do {                                                                       \
    if (auto tetrad_try = (expression); !tetrad_try)                         \
      return tl::unexpected<::tetrad::Error>(std::move(tetrad_try.error())); \
  } while (false)

/// TETRAD_ASSIGN(auto file, MappedFile::open(path)): the value, or out of the function with the
/// error.
#define TETRAD_ASSIGN(declaration, expression) \
  TETRAD_ASSIGN_INNER(TETRAD_CONCAT(tetrad_result_, __LINE__), declaration, expression)
#define TETRAD_ASSIGN_INNER(result, declaration, expression)                                  \
  /* NOLINTBEGIN(bugprone-macro-parentheses): names and a declaration cannot stand in them */ \
  auto result = (expression);                                                                 \
  if (!result) return tl::unexpected<::tetrad::Error>(std::move(result.error()));             \
  declaration = std::move(*result) /* NOLINTEND(bugprone-macro-parentheses) */
