#include "chat/tool_call_writer.h"

#include <algorithm>
#include <utility>

namespace tetrad {

const ToolDefinition* ToolCallWriter::find(std::string_view name) const {
  if (!tools_) return nullptr;
  const auto found = std::ranges::find(*tools_, name, &ToolDefinition::name);
  return found == tools_->end() ? nullptr : &*found;
}

/// The piece of the current call in `delta`.
std::string& ToolCallWriter::arguments(OutputDelta& delta) const {
  const int64_t index = num_calls_ - 1;
  if (delta.tool_calls.empty() || delta.tool_calls.back().index != index) {
    delta.tool_calls.push_back({.index = index, .name = std::nullopt, .arguments = ""});
  }
  return delta.tool_calls.back().arguments;
}

void ToolCallWriter::begin_call(std::string_view name, OutputDelta& delta) {
  tool_ = find(name);
  seen_.clear();
  object_is_open_ = false;
  if (tool_ == nullptr) ++num_unknown_;
  if (!parallel_ && num_calls_ > 0) tool_ = nullptr;
  if (tool_ == nullptr) return;
  delta.tool_calls.push_back({.index = num_calls_++, .name = tool_->name, .arguments = ""});
}

void ToolCallWriter::begin_parameter(std::string_view name, OutputDelta& delta) {
  parameter_ = name;
  skips_newlines_ = true;
  held_newlines_ = 0;
  collected_.clear();
  mode_ = ValueMode::dropped;
  if (tool_ == nullptr || !seen_.insert(parameter_).second) return;
  ArgumentSchemas& schemas = schemas_.try_emplace(tool_, tool_->parameters).first->second;
  schema_ = schemas.parameter(name);
  if (schema_ != nullptr && !schema_->types.only_string()) {
    mode_ = ValueMode::collected;
    return;
  }
  mode_ = ValueMode::passed_on;
  begin_member(name, delta);
  arguments(delta) += '"';
}

void ToolCallWriter::begin_member(std::string_view name, OutputDelta& delta) {
  std::string& json = arguments(delta);
  json += std::exchange(object_is_open_, true) ? ", \"" : "{\"";
  append_json_escaped(json, name);
  json += "\": ";
}

void ToolCallWriter::write_value(std::string_view text, OutputDelta& delta) {
  if (mode_ == ValueMode::dropped) return;
  if (skips_newlines_) {
    text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
    if (text.empty()) return;
    skips_newlines_ = false;
  }
  const size_t length = text.find_last_not_of('\n') + 1;
  if (length > 0) {
    take_value(std::string(std::exchange(held_newlines_, 0), '\n'), delta);
    take_value(text.substr(0, length), delta);
  }
  held_newlines_ += text.size() - length;
}

void ToolCallWriter::take_value(std::string_view text, OutputDelta& delta) {
  if (mode_ == ValueMode::collected) {
    collected_ += text;
  } else if (!text.empty()) {
    append_json_escaped(arguments(delta), text);
  }
}

void ToolCallWriter::end_value(OutputDelta& delta) {
  const ValueMode mode = std::exchange(mode_, ValueMode::dropped);
  if (mode == ValueMode::passed_on) arguments(delta) += '"';
  if (mode != ValueMode::collected) return;
  begin_member(parameter_, delta);
  arguments(delta) += argument_json(collected_, *schema_, schemas_.at(tool_));
  collected_.clear();
}

void ToolCallWriter::close_object(OutputDelta& delta) {
  arguments(delta) += object_is_open_ ? "}" : "{}";
  tool_ = nullptr;
}

void ToolCallWriter::end_call(OutputDelta& delta) {
  if (tool_ == nullptr) return;
  has_complete_call_ = true;
  close_object(delta);
}

void ToolCallWriter::cut_off(OutputDelta& delta) {
  if (tool_ == nullptr) return;
  if (std::exchange(mode_, ValueMode::dropped) == ValueMode::passed_on) arguments(delta) += '"';
  close_object(delta);
}

}  // namespace tetrad
