#pragma once

// Reading the members of one JSON object by name, with errors that name the field. A member that is
// null counts as absent, as it does for the Python programs that write these files.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

namespace tetrad {

class JsonFields {
 public:
  /// `path` is put in front of every field in error texts: "rope_parameters.".
  explicit JsonFields(const json::object& object, std::string path = "");

  /// The member, or nothing where it is absent or null.
  const json::value* find(std::string_view key) const;
  /// "rope_parameters.rope_theta": how errors call the member.
  std::string name(std::string_view key) const;

  // An optional member of that type; a member of another type or outside the bounds (both
  // included) is an error.
  Result<std::optional<int64_t>> integer(std::string_view key, int64_t min, int64_t max) const;
  Result<std::optional<double>> number(std::string_view key, double min, double max) const;
  Result<std::optional<bool>> boolean(std::string_view key) const;
  Result<std::optional<std::string>> text(std::string_view key) const;
  Result<const json::array*> array(std::string_view key) const;    // nullptr: absent
  Result<const json::object*> object(std::string_view key) const;  // nullptr: absent

 private:
  tl::unexpected<Error> wrong_kind(std::string_view key, std::string_view wanted,
                                   const json::value& found) const;

  const json::object* object_;
  std::string path_;
};

}  // namespace tetrad
