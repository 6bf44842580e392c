// Random texts of grammars, for validators to judge. A line from standard input holds either
// {"schema"}, answered by {"samples": [JSON text, …]}, or {"parameters"}, the schema of a strict
// tool, answered by {"samples": [arguments as the output parser makes them of a call, …],
// "texts": [the calls]}. What is refused is answered by {"error", "param"}.
// usage: schema_samples [SAMPLES A SCHEMA] [SEED]

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <random>
#include <string>

#include "base/json.h"
#include "chat/output_parser.h"
#include "grammar/json_schema.h"
#include "grammar/matcher.h"
#include "grammar/tool_call_grammar.h"

namespace tetrad::grammar {
namespace {

// Behind so many bytes every one leads towards the end, and before them every third.
constexpr size_t kLongSample = 120;

class Sampler {
 public:
  explicit Sampler(uint64_t seed) : random_(seed) {}

  std::string sample(const Grammar& grammar) {
    Matcher matcher(grammar);
    std::string text;
    while (!matcher.can_end() || (text.size() < kLongSample && chance(2))) {
      const bool closing = text.size() >= kLongSample || chance(3);
      std::string order = bytes_in_order();
      const auto fits = [&](char byte) { return advance(matcher, byte, closing); };
      auto byte = std::ranges::find_if(order, fits);
      if (byte == order.end()) {
        if (matcher.can_end()) break;
        byte = std::ranges::find_if(order, [&](char any) { return advance(matcher, any, false); });
      }
      text += *byte;
    }
    return text;
  }

 private:
  bool chance(int in) { return std::uniform_int_distribution(1, in)(random_) == 1; }

  static bool advance(Matcher& matcher, char byte, bool closing) {
    const std::string_view text(&byte, 1);
    if (!closing) return matcher.accept(text);
    Matcher next = matcher;
    if (!next.accept(text) || next.min_bytes() >= matcher.min_bytes()) return false;
    return matcher.accept(text);
  }

  /// Mostly characters that a person would write come first.
  std::string bytes_in_order() {
    std::string order(256, '\0');
    std::iota(order.begin(), order.end(), '\0');
    std::ranges::shuffle(order, random_);
    if (!chance(8)) {
      std::stable_partition(order.begin(), order.end(),
                            [](char byte) { return byte >= ' ' && byte <= '~'; });
    }
    return order;
  }

  std::mt19937_64 random_;
};

Result<Grammar> grammar_of(const json::object& line) {
  Builder builder;
  if (const json::value* schema = line.if_contains("schema")) {
    TETRAD_ASSIGN(const NodeId root, add_json_schema(builder, *schema, "schema"));
    return std::move(builder).finish(root);
  }
  const ToolCallGrammar calls{
      .tools = {{.name = "f", .parameters = line.at("parameters").as_object(), .strict = true}},
      .parallel = false};
  TETRAD_ASSIGN(const NodeId root, add_tool_calls(builder, calls));
  return std::move(builder).finish(root);
}

std::string arguments_of(const std::string& call, const json::object& parameters) {
  const auto tools = std::make_shared<const std::vector<ToolDefinition>>(
      std::vector<ToolDefinition>{{.name = "f", .parameters = parameters, .strict = true}});
  OutputParser parser({.tools = tools});
  std::string arguments;
  for (const OutputDelta& delta : {parser.push("<minimax:tool_call>" + call), parser.finish()}) {
    for (const ToolCallDelta& piece : delta.tool_calls)
      arguments += piece.arguments;
  }
  return arguments;
}

json::object answer(const json::object& line, int num_samples, Sampler& sampler) {
  const Result<Grammar> grammar = grammar_of(line);
  if (!grammar) return {{"error", grammar.error().message}, {"param", grammar.error().param}};
  json::array samples;
  json::array texts;
  for (int i = 0; i < num_samples; ++i) {
    const std::string text = sampler.sample(*grammar);
    if (const json::value* parameters = line.if_contains("parameters")) {
      samples.emplace_back(arguments_of(text, parameters->as_object()));
      texts.emplace_back(text);
    } else {
      samples.emplace_back(text);
    }
  }
  json::object result{{"samples", std::move(samples)}};
  if (!texts.empty()) result["texts"] = std::move(texts);
  return result;
}

}  // namespace
}  // namespace tetrad::grammar

int main(int argc, char** argv) {
  const int num_samples = argc > 1 ? std::atoi(argv[1]) : 20;
  tetrad::grammar::Sampler sampler(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto value = tetrad::parse_json(line, {.max_depth = 1000});
    if (!value) {
      fmt::print(stderr, "{}\n", value.error().message);
      return 1;
    }
    fmt::print("{}\n", tetrad::to_json_text(
                           tetrad::grammar::answer(value->as_object(), num_samples, sampler)));
  }
  return 0;
}
