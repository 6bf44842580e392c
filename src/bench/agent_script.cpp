#include "bench/agent_script.h"

#include <fmt/format.h>

#include <initializer_list>
#include <iterator>
#include <string_view>

#include "bench/words.h"

namespace tetrad::bench {
namespace {

constexpr std::string_view kRules =
    "You are a coding agent. You work in a checkout of one repository and change it until the "
    "user's task is done.\n\n"
    "# Rules\n"
    "- Look before you change: read the files that a change touches, and the tests beside them.\n"
    "- Make the smallest change that does the task. Keep the style of the code around it.\n"
    "- After a change, build the project and run the tests that cover it. A failure is yours.\n"
    "- Never write outside the repository, and never print secrets that you come across.\n"
    "- When a command fails twice in the same way, stop and say what you saw.\n"
    "- At the end, say in two or three sentences what you changed and how you checked it.\n\n"
    "# Notes on the project\n";

struct Parameter {
  std::string_view name;
  std::string_view type;
  std::string_view description;
};

json::object tool(std::string_view name, std::string_view description,
                  std::initializer_list<Parameter> parameters) {
  json::object properties;
  json::array required;
  for (const Parameter& parameter : parameters) {
    properties[parameter.name] =
        json::object{{"type", parameter.type}, {"description", parameter.description}};
    required.emplace_back(parameter.name);
  }
  json::object schema{{"type", "object"}};
  schema["properties"] = std::move(properties);
  schema["required"] = std::move(required);
  json::object function{{"name", name}, {"description", description}};
  function["parameters"] = std::move(schema);
  return json::object{{"type", "function"}, {"function", std::move(function)}};
}

std::string random_path(Random& random) {
  return fmt::format("src/{}/{}_{}.cpp", random_word(random), random_word(random),
                     random_word(random));
}

}  // namespace

std::string agent_system_prompt(Random& random, int64_t notes_len) {
  return std::string(kRules) + random_words(random, notes_len);
}

json::array agent_tools() {
  return {
      tool("read_file", "Returns the lines of a text file, numbered.",
           {{"path", "string", "Path from the root of the repository"},
            {"first_line", "integer", "The first line to return, from 1"},
            {"last_line", "integer", "The last line to return"}}),
      tool("list_directory", "Lists files and folders, one a line.",
           {{"path", "string", "Path of the folder from the root of the repository"}}),
      tool("search", "Finds the lines that match a regular expression.",
           {{"pattern", "string", "The regular expression"},
            {"path", "string", "The folder to search in"}}),
      tool("edit_file", "Replaces a text that occurs exactly once in a file.",
           {{"path", "string", "Path from the root of the repository"},
            {"old_text", "string", "The text to replace"},
            {"new_text", "string", "What to put in its place"}}),
      tool("run_command", "Runs a shell command in the root of the repository.",
           {{"command", "string", "The command line"},
            {"timeout_seconds", "integer", "When to end it"}}),
  };
}

std::string agent_task(Random& random) {
  const std::string path = random_path(random);
  return fmt::format(
      "In {} the function {}_{} does not {} the {} when the {} is {}. Please fix it, "
      "and add a test that fails without the fix.",
      path, random_word(random), random_word(random), random_word(random), random_word(random),
      random_word(random), random_word(random));
}

json::object agent_tool_call(Random& random, const std::string& id) {
  std::string_view name;
  json::object arguments;
  switch (random.between(0, 3)) {
    case 0:
      name = "read_file";
      arguments["path"] = random_path(random);
      arguments["first_line"] = random.between(1, 200);
      arguments["last_line"] = random.between(201, 400);
      break;
    case 1:
      name = "search";
      arguments["pattern"] = random_words(random, 2);
      arguments["path"] = "src";
      break;
    case 2:
      name = "edit_file";
      arguments["path"] = random_path(random);
      arguments["old_text"] = random_words(random, 6);
      arguments["new_text"] = random_words(random, 8);
      break;
    default:
      name = "run_command";
      arguments["command"] = fmt::format("ctest -R {}_test", random_word(random));
      arguments["timeout_seconds"] = 60;
  }
  // In OpenAI's form arguments are JSON as text.
  json::object function{{"name", name}, {"arguments", to_json_text(arguments)}};
  return json::object{{"id", id}, {"type", "function"}, {"function", std::move(function)}};
}

std::string agent_tool_result(Random& random, int64_t len) {
  return random_code(random, len);
}

}  // namespace tetrad::bench
