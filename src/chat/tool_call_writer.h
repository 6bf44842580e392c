#pragma once

// Where an OutputParser puts the calls: their pieces as they become certain.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "chat/output_parser.h"
#include "chat/tool_arguments.h"

namespace tetrad {

class ToolCallWriter {
 public:
  ToolCallWriter(ToolDefinitions tools, bool parallel)
      : tools_(std::move(tools)), parallel_(parallel) {}

  bool has_tools() const { return tools_ && !tools_->empty(); }
  bool knows(std::string_view name) const { return find(name) != nullptr; }

  /// A call begins; of an unknown function, or of one too many, nothing is shown. Calls and values
  /// end before the next one begins.
  void begin_call(std::string_view name, OutputDelta& delta);
  void begin_parameter(std::string_view name, OutputDelta& delta);
  void write_value(std::string_view text, OutputDelta& delta);
  void end_value(OutputDelta& delta);
  void end_call(OutputDelta& delta);
  /// The text ends here, inside a call and perhaps inside a value, which is closed or left out.
  void cut_off(OutputDelta& delta);

  int64_t num_calls() const { return num_calls_; }
  int64_t num_unknown() const { return num_unknown_; }
  bool has_complete_call() const { return has_complete_call_; }

 private:
  /// What becomes of the text of a value.
  enum class ValueMode { dropped, passed_on, collected };

  const ToolDefinition* find(std::string_view name) const;
  std::string& arguments(OutputDelta& delta) const;
  void begin_member(std::string_view name, OutputDelta& delta);
  void take_value(std::string_view text, OutputDelta& delta);
  void close_object(OutputDelta& delta);

  ToolDefinitions tools_;
  bool parallel_;
  std::unordered_map<const ToolDefinition*, ArgumentSchemas> schemas_;
  int64_t num_calls_ = 0;
  int64_t num_unknown_ = 0;
  bool has_complete_call_ = false;

  // The call.
  const ToolDefinition* tool_ = nullptr;  // null: nothing of it is shown
  std::unordered_set<std::string> seen_;  // parameters
  bool object_is_open_ = false;           // `{` was sent

  // The value.
  ValueMode mode_ = ValueMode::dropped;
  const ArgumentSchema* schema_ = nullptr;
  std::string parameter_;
  std::string collected_;
  bool skips_newlines_ = false;
  size_t held_newlines_ = 0;
};

}  // namespace tetrad
