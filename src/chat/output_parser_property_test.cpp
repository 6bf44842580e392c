// Made-up outputs, good ones and broken ones: what the parser makes of them must not depend on how
// they are cut, and the calls must have OpenAI's form.

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <string>
#include <vector>

#include "base/sanitized_for_tests.h"
#include "base/splitmix.h"
#include "chat/parsed_output_for_tests.h"

namespace tetrad {
namespace {

constexpr std::array<std::string_view, 14> kWords = {"a",  "Größe", "日本",    "🎉",  " ",
                                                     "\n", "\n\n",  "\"",      "\\",  "<",
                                                     "</", "1e999", "[1,2.0]", "null"};

constexpr std::array<std::string_view, 16> kMarkup = {
    "<think>",
    "</think>",
    "<minimax:tool_call>",
    "</minimax:tool_call>",
    "<invoke name=\"f\">",
    "<invoke name='zz'>",
    "<invoke name= g >",
    "</invoke>",
    "<parameter name=\"a\">",
    "<parameter name='n'>",
    "<parameter name=o>",
    "</parameter>",
    "<minimax:tool",
    "<invoke nam",
    "</param",
    "<parameter name=\"b",
};

/// Writes outputs at random, most of them with the grammar of real ones.
class OutputMaker {
 public:
  explicit OutputMaker(uint64_t seed) : seed_(seed) {}

  std::string make() {
    text_.clear();
    if (chance(2)) thinking();
    for (size_t parts = below(3) + 1; parts > 0; --parts)
      part();
    if (chance(2)) damage_often();
    return text_;
  }
  std::string damaged(std::string_view text) {
    text_ = text;
    damage_often();
    return text_;
  }

  size_t below(size_t count) { return splitmix(seed_ += kSplitMixStep) % count; }
  bool chance(size_t one_in) { return below(one_in) == 0; }

 private:
  template <size_t kCount>
  std::string_view any(const std::array<std::string_view, kCount>& texts) {
    return texts[below(kCount)];
  }
  void words() {
    for (size_t i = below(4); i > 0; --i)
      text_ += any(kWords);
  }
  void thinking() {
    if (chance(4)) text_ += "<think>";
    words();
    if (!chance(6)) text_ += "\n</think>\n\n";
  }
  void part() {
    if (chance(3)) words();
    if (chance(4)) {
      text_ += any(kMarkup);
    } else if (chance(4)) {
      call();
    } else {
      block();
    }
  }
  void block() {
    text_ += "\n<minimax:tool_call>\n";
    for (size_t i = below(3); i > 0; --i)
      call();
    text_ += "</minimax:tool_call>";
  }
  void call() {
    constexpr std::array<std::string_view, 4> kNames = {"f", "f", "g", "zz"};
    text_ += "<invoke name=\"" + std::string(any(kNames)) + "\">\n";
    for (size_t i = below(3); i > 0; --i) {
      constexpr std::array<std::string_view, 5> kParameters = {"a", "b", "n", "o", "zz"};
      text_ += "<parameter name=\"" + std::string(any(kParameters)) + "\">";
      if (chance(5)) text_ += any(kMarkup);
      words();
      text_ += "</parameter>\n";
    }
    text_ += "</invoke>\n";
  }

  void damage_often() {
    for (size_t damages = below(4); damages > 0; --damages)
      damage();
  }

  /// Deletes, doubles or inserts something at the boundary of a character.
  void damage() {
    const std::vector<std::string_view> characters = characters_for_tests(text_);
    const size_t begin = below(characters.size() + 1);
    const size_t end = std::min(begin + below(8), characters.size());
    const size_t kind = below(4);
    std::string damaged;
    for (size_t i = 0; i <= characters.size(); ++i) {
      if (i == begin && kind == 1) damaged += any(kMarkup);
      if (i == begin && kind == 2) damaged += any(kWords);
      if (i == characters.size()) break;
      const bool inside = i >= begin && i < end;
      if (!(inside && kind == 0)) damaged += characters[i];
      if (inside && kind == 3) damaged += characters[i];
    }
    text_ = std::move(damaged);
  }

  uint64_t seed_;
  std::string text_;
};

ToolDefinitions tools_of_the_test() {
  const json::object parameters =
      parse_json(
          R"({"properties":{"a":{"type":"string"},"b":{"type":["string","null"]},
              "n":{"type":"number"},"o":{"type":"array","items":{"type":"integer"}}}})")
          ->get_object();
  return std::make_shared<const std::vector<ToolDefinition>>(
      std::vector<ToolDefinition>{{.name = "f", .parameters = parameters}, {.name = "g"}});
}

/// Parses `text` whole and in every cut.
ParsedOutputForTests parse_in_every_cut(const OutputFormat& format, std::string_view text) {
  const ParsedOutputForTests whole = parse_pieces_for_tests(format, {text});
  EXPECT_EQ(whole.fault, "") << text;
  const std::vector<std::string_view> characters = characters_for_tests(text);
  EXPECT_EQ(parse_pieces_for_tests(format, characters), whole) << text;
  for (size_t cut = 0; const std::string_view character : characters) {
    cut += character.size();
    const auto parsed = parse_pieces_for_tests(format, {text.substr(0, cut), text.substr(cut)});
    if (parsed == whole) continue;
    ADD_FAILURE() << text << "\ncut at " << cut;
    break;
  }
  return whole;
}

TEST(OutputParserProperty, EveryCutOfMadeUpOutputsIsTheSame) {
  const ToolDefinitions tools = tools_of_the_test();
  OutputMaker maker(7);
  size_t num_with_calls = 0;
  size_t num_complete = 0;
  const int num_outputs = kSanitized ? 400 : 4000;
  for (int i = 0; i < num_outputs; ++i) {
    const OutputFormat format{
        .starts_in_reasoning = !maker.chance(4),
        .reasoning = maker.chance(5) ? ReasoningStyle::append_think : ReasoningStyle::split,
        .tools = maker.chance(8) ? nullptr : tools,
        .parallel_tool_calls = !maker.chance(6)};
    const ParsedOutputForTests whole = parse_in_every_cut(format, maker.make());
    num_with_calls += whole.calls.empty() ? 0 : 1;
    num_complete += whole.has_complete_call ? 1 : 0;
    ASSERT_FALSE(HasFailure());
  }
  // The outputs are of both kinds.
  EXPECT_GT(num_complete, static_cast<size_t>(num_outputs) / 4);
  EXPECT_GT(num_with_calls, num_complete);
  EXPECT_LT(num_with_calls, static_cast<size_t>(num_outputs) * 3 / 4);
}

/// Answers of the bundled model to tool requests (make_model_outputs.py), as they are and damaged.
TEST(OutputParserProperty, EveryCutOfAModelsOutputsIsTheSame) {
  std::ifstream file(TETRAD_SOURCE_DIR "/tests/parser/model_outputs.jsonl");
  OutputMaker maker(11);
  size_t num_outputs = 0;
  size_t num_with_calls = 0;
  for (std::string line; std::getline(file, line); ++num_outputs) {
    if (kSanitized && num_outputs % 10 != 0) continue;
    const json::value one = parse_json(line).value();
    std::vector<ToolDefinition> tools;
    for (const json::value& tool : one.at("tools").as_array()) {
      tools.push_back({.name = std::string(tool.at("name").as_string()),
                       .parameters = tool.at("parameters").as_object()});
    }
    const OutputFormat format{
        .starts_in_reasoning = true,
        .tools = std::make_shared<const std::vector<ToolDefinition>>(std::move(tools))};
    const std::string_view text = one.at("text").as_string();
    num_with_calls += parse_in_every_cut(format, text).calls.empty() ? 0 : 1;
    for (int i = 0; i < 4; ++i)
      parse_in_every_cut(format, maker.damaged(text));
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_EQ(num_outputs, 200U);
  EXPECT_GT(num_with_calls, kSanitized ? 5U : 100U);
}

}  // namespace
}  // namespace tetrad
