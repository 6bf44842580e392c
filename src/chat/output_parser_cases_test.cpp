// The outputs of tests/parser/cases.jsonl, each named after the rule of the specification or the
// bug of another server that it guards. The lines are input for `tetrad parse` as well.

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "chat/parsed_output_for_tests.h"

namespace tetrad {
namespace {

struct OutputCase {
  std::string name;
  OutputFormat format;
  std::string text;
  json::value expected;
};

ToolDefinitions tools_of_line(const json::object& line) {
  const json::value* tools = line.if_contains("tools");
  const json::value* choice = line.if_contains("tool_choice");
  if (tools == nullptr || (choice != nullptr && *choice == "none")) return nullptr;
  auto definitions = std::make_shared<std::vector<ToolDefinition>>();
  for (const json::value& tool : tools->get_array()) {
    const json::object& function = tool.at("function").get_object();
    const json::value* parameters = function.if_contains("parameters");
    definitions->push_back(
        {.name = std::string(function.at("name").get_string()),
         .parameters = parameters == nullptr ? json::object() : parameters->get_object()});
  }
  return definitions;
}

OutputCase case_of_line(const std::string& text) {
  const json::object line = parse_json(text, {.max_depth = 80})->get_object();
  OutputCase output;
  output.name = line.at("name").get_string();
  output.format.starts_in_reasoning = !line.contains("start");
  if (line.contains("reasoning_parser")) output.format.reasoning = ReasoningStyle::append_think;
  output.format.tools = tools_of_line(line);
  output.format.parallel_tool_calls = !line.contains("parallel_tool_calls");
  for (const json::value& chunk : line.at("chunks").get_array())
    output.text += std::string_view(chunk.get_string());
  output.expected = line.at("expected");
  return output;
}

std::vector<OutputCase> output_cases() {
  std::ifstream file(TETRAD_SOURCE_DIR "/tests/parser/cases.jsonl");
  std::vector<OutputCase> cases;
  std::string line;
  while (std::getline(file, line))
    cases.push_back(case_of_line(line));
  return cases;
}

json::value text_or_null_of(const std::string& text) {
  if (text.empty()) return nullptr;
  return json::value(text);
}

json::value as_expected(const ParsedOutputForTests& output) {
  json::array calls;
  for (const auto& call : output.calls)
    calls.push_back({{"name", call.name}, {"arguments", call.arguments}});
  return {{"reasoning", text_or_null_of(output.reasoning)},
          {"content", text_or_null_of(output.content)},
          {"tool_calls", std::move(calls)},
          {"finish_reason", output.has_complete_call ? "tool_calls" : "stop"}};
}

TEST(OutputParserCases, AreMany) {
  EXPECT_GE(output_cases().size(), 200U);
}

TEST(OutputParserCases, GiveWhatIsExpected) {
  for (const OutputCase& c : output_cases()) {
    const ParsedOutputForTests output = parse_pieces_for_tests(c.format, {c.text});
    EXPECT_EQ(to_json_text(as_expected(output)), to_json_text(c.expected)) << c.name;
    EXPECT_EQ(output.fault, "") << c.name;
  }
}

TEST(OutputParserCases, CharacterByCharacterAreTheSame) {
  for (const OutputCase& c : output_cases()) {
    EXPECT_EQ(parse_pieces_for_tests(c.format, characters_for_tests(c.text)),
              parse_pieces_for_tests(c.format, {c.text}))
        << c.name;
  }
}

TEST(OutputParserCases, EveryCutInTwoIsTheSame) {
  for (const OutputCase& c : output_cases()) {
    const std::string_view text = c.text;
    const ParsedOutputForTests whole = parse_pieces_for_tests(c.format, {text});
    for (size_t i = 0; i <= text.size(); ++i) {
      ASSERT_EQ(parse_pieces_for_tests(c.format, {text.substr(0, i), text.substr(i)}), whole)
          << c.name << " cut at " << i;
    }
  }
}

// All 2^(n-1) ways to cut short texts made of the parts of tags.
TEST(OutputParserCases, EveryPossibleCutOfShortTextsIsTheSame) {
  const auto tools =
      std::make_shared<const std::vector<ToolDefinition>>(1, ToolDefinition{.name = "f"});
  for (const std::string text : {"\nx\n</think>\n", "<think>\na</t", "a<</think>b", "</think></thi",
                                 "\n \n</think>", "<invoke name=f>\n"}) {
    const OutputFormat format{.starts_in_reasoning = text.find("think") != std::string::npos,
                              .tools = tools};
    const ParsedOutputForTests expected = parse_pieces_for_tests(format, {text});
    for (unsigned cuts = 0; cuts < 1U << (text.size() - 1); ++cuts) {
      std::vector<std::string_view> pieces;
      size_t start = 0;
      for (size_t end = 1; end <= text.size(); ++end) {
        if (end < text.size() && (cuts >> (end - 1) & 1U) == 0) continue;
        pieces.push_back(std::string_view(text).substr(start, end - start));
        start = end;
      }
      ASSERT_EQ(parse_pieces_for_tests(format, pieces), expected) << text << " cut as " << cuts;
    }
  }
}

}  // namespace
}  // namespace tetrad
