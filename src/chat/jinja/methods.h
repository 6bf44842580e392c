#pragma once

// The methods of Python's types. None of them changes its object: those that would are treated as
// unsafe, as in Jinja's immutable sandbox.

#include <span>
#include <string_view>

#include "chat/jinja/object.h"

namespace tetrad::jinja {

std::span<const NamedFunction> string_methods();
std::span<const NamedFunction> list_methods();
std::span<const NamedFunction> tuple_methods();
std::span<const NamedFunction> dict_methods();
std::span<const NamedFunction> float_methods();

/// append, update and so on.
bool is_list_mutator(std::string_view name);
bool is_dict_mutator(std::string_view name);

// Parts of string_methods(), by file.
std::span<const NamedFunction> string_case_methods();
std::span<const NamedFunction> string_search_methods();
std::span<const NamedFunction> string_split_methods();

/// str.format and str.format_map.
Result<Value> str_format(Interpreter& interpreter, const Value& self, const Arguments& arguments);
Result<Value> str_format_map(Interpreter& interpreter, const Value& self,
                             const Arguments& arguments);

}  // namespace tetrad::jinja
