#pragma once

// Typed access to the members of one JSON object of a request.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace tetrad::api {

/// An interval of numbers, for checks and for their error texts.
struct NumberRange {
  double min;
  double max;
  bool above_min = false;  // min itself is excluded
};

/// Reads fields by name and remembers which were asked for, so that those nobody knows can be
/// told. `null` counts as absent, as in the OpenAI API. Every error names the field.
class FieldReader {
 public:
  /// `object` must outlive the reader. `prefix` ("stream_options.") leads the names in errors.
  explicit FieldReader(const json::object& object, std::string prefix = "");

  Result<std::optional<bool>> boolean(std::string_view name);
  /// Integers, also those written with a fraction of zero (5.0).
  Result<std::optional<int64_t>> integer(std::string_view name, int64_t min, int64_t max);
  Result<std::optional<double>> number(std::string_view name, NumberRange range);
  Result<std::optional<std::string>> string(std::string_view name);
  /// One that must be there.
  Result<std::string> required_string(std::string_view name);
  /// Null where absent.
  Result<const json::array*> array(std::string_view name);
  Result<const json::object*> object(std::string_view name);

  /// The member itself; null where absent.
  const json::value* find(std::string_view name);

  std::string full_name(std::string_view name) const { return prefix_ + std::string(name); }
  /// The names in the object that nobody asked for.
  std::vector<std::string> unread() const;

 private:
  const json::object& object_;
  std::string prefix_;
  std::set<std::string, std::less<>> known_;
};

/// `value` as an integer, or nothing when it is not one or does not fit.
std::optional<int64_t> as_integer(const json::value& value);

/// The error every reader makes of a value of the wrong kind.
tl::unexpected<Error> wrong_kind(std::string_view full_name, std::string_view expected,
                                 const json::value& value);

/// The error for a field that is understood but not implemented.
tl::unexpected<Error> unsupported_field(std::string_view full_name, std::string message);

}  // namespace tetrad::api
