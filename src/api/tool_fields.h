#pragma once

// What requests say of tools. The dialects spell it in three ways; all of them end up here.

#include <string>
#include <vector>

#include "api/field_reader.h"
#include "chat/tool_definition.h"

namespace tetrad::api {

/// Whether the model must call.
struct ToolChoice {
  enum class Mode {
    automatic,  // it decides
    none,       // it is not told of any tools
    required,   // at least one
    named,      // the one of this name
  };
  Mode mode = Mode::automatic;
  std::string name;  // with Mode::named

  bool forces_call() const { return mode == Mode::required || mode == Mode::named; }
};

/// The tools of a request.
struct RequestTools {
  /// {"type": "function", "function": {…}} each, as the template takes them. Empty with
  /// ToolChoice::Mode::none.
  json::array for_prompt;
  ToolDefinitions definitions;  // null where for_prompt is empty
  ToolChoice choice;
  bool parallel_calls = true;
};

/// Collects a request's tools and checks what all dialects have in common: how many there are, how
/// large, and their names.
class ToolCollector {
 public:
  /// The first complaint about the field "tools" itself.
  static Result<void> check_count(const json::array& tools);

  struct Tool {
    std::string where;        // "tools[0].function": of the tool in the request
    std::string schema_name;  // "parameters": of the schema below `where`
    json::object function;    // what the prompt shows
    std::optional<std::string> name;
    const json::object* parameters = nullptr;
    bool strict = false;
  };
  Result<void> add(Tool tool);

  /// Errors: a choice that needs tools where there are none, or names one that is not there.
  Result<RequestTools> finish(ToolChoice choice, bool parallel_calls) &&;

 private:
  json::array for_prompt_;
  std::vector<ToolDefinition> definitions_;
  size_t schema_bytes_ = 0;
};

/// `tools` and `parallel_tool_calls` of OpenAI's dialects; `read_tool` hands one to the collector.
Result<RequestTools> read_openai_tools(FieldReader& fields, ToolChoice choice,
                                       Result<void> (*read_tool)(const json::value& tool,
                                                                 size_t index,
                                                                 ToolCollector& collector));

/// OpenAI's `tools`, `tool_choice` and `parallel_tool_calls` of chat completions.
Result<RequestTools> read_chat_tools(FieldReader& fields);

/// "auto", "none" or "required"; nothing for another value.
std::optional<ToolChoice> tool_choice_of_word(const json::value& choice);

}  // namespace tetrad::api
