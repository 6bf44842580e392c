#pragma once

// A library that may or may not be on the machine, and functions in it by name.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tetrad::gpu {

/// A function of such a library: returns 0, or a number that says what went wrong.
template <class... Parameters>
struct LibraryFunction {
  const char* name = "";
  int (*call)(Parameters...) = nullptr;
};

/// Stays loaded to the end of the process, as drivers start threads that outlive any caller.
class SharedLibrary {
 public:
  /// The first of `names` that can be loaded. Errors: not_found, with the loader's reasons.
  static Result<SharedLibrary> open(std::span<const char* const> names);

  const std::string& name() const { return name_; }

  /// Sets `function`; what is not there is for check_all_found() to say.
  template <class... Parameters>
  void find(const char* name, LibraryFunction<Parameters...>& function) {
    find_optional(name, function);
    if (function.call == nullptr) missing_.emplace_back(name);
  }

  /// As find, but `call` may stay nullptr.
  template <class... Parameters>
  void find_optional(const char* name, LibraryFunction<Parameters...>& function) {
    function = {name, reinterpret_cast<int (*)(Parameters...)>(address_of(name))};
  }

  /// The same of a function that returns something else.
  template <class Return, class... Parameters>
  void find(const char* name, Return (*&function)(Parameters...)) {
    function = reinterpret_cast<Return (*)(Parameters...)>(address_of(name));
    if (function == nullptr) missing_.emplace_back(name);
  }

  /// Errors: unsupported, with the names that find() did not find, and what to do.
  Result<void> check_all_found(std::string_view advice) const;

 private:
  SharedLibrary(std::string name, void* handle) : name_(std::move(name)), handle_(handle) {}
  void* address_of(const char* name) const;

  std::string name_;
  void* handle_;
  std::vector<std::string> missing_;
};

}  // namespace tetrad::gpu
