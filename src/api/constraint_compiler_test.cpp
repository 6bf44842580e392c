#include "api/constraint_compiler.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/bundled_model.h"

namespace tetrad::api {
namespace {

class ConstraintCompilerTest : public ::testing::Test {
 protected:
  TokenId added(std::string_view text) const { return *tokenizer_.find_added_token(text); }

  /// Chooses at random among what is allowed, up to the end or `max_tokens`; the whole text.
  std::string draw(const TokenConstraint& constraint, int64_t max_tokens, unsigned seed) const {
    std::mt19937 random(seed);
    const auto state = constraint.start();
    std::vector<TokenId> ids;
    while (std::cmp_less(ids.size(), max_tokens)) {
      const auto allowed = state->allowed(max_tokens - std::ssize(ids));
      EXPECT_TRUE(allowed) << allowed.error().message;
      if (!allowed) return "";
      std::vector<TokenId> choices;
      for (TokenId id = 0; id < tokenizer_.vocab_size(); ++id) {
        if (*allowed == nullptr || (*allowed)->contains(id)) choices.push_back(id);
      }
      EXPECT_FALSE(choices.empty());
      if (choices.empty()) return "";
      const TokenId id = choices[random() % choices.size()];
      state->accept(id);
      if (id == end_) return tokenizer_.decode(ids, /*skip_special_tokens=*/false);
      ids.push_back(id);
    }
    ADD_FAILURE() << "no end within " << max_tokens
                  << " tokens: " << tokenizer_.decode(ids, /*skip_special_tokens=*/false);
    return "";
  }

  static AnswerDemands schema(const char* text) {
    AnswerDemands demands;
    demands.output.kind = StructuredOutput::Kind::json_schema;
    demands.output.schema = json::parse(text);
    demands.output.param = "response_format.json_schema.schema";
    return demands;
  }

  static ToolDefinitions tools() {
    return std::make_shared<const std::vector<ToolDefinition>>(std::vector<ToolDefinition>{
        {.name = "get_time", .parameters = {}},
        {.name = "add",
         .parameters = json::parse(R"({"type": "object", "properties": {"n": {"type": "integer"}},
                                       "required": ["n"], "additionalProperties": false})")
                           .get_object(),
         .strict = true}});
  }

  const Tokenizer& tokenizer_ = bundled_tokenizer();
  const TokenId end_ = *tokenizer_.find_added_token("[e~[");
  ConstraintCompiler compiler_{tokenizer_, {end_}};
};

TEST_F(ConstraintCompilerTest, NothingIsDemandedOfMostAnswers) {
  EXPECT_EQ(*compiler_.compile({}), nullptr);
  EXPECT_EQ(*compiler_.compile({.starts_in_reasoning = true, .is_chat = true}), nullptr);
}

TEST_F(ConstraintCompilerTest, ASchemaIsSatisfiedWithinAnyRoom) {
  const auto constraint = compiler_.compile(
      schema(R"({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "array",
               "items": {"type": "boolean"}}}, "required": ["a"], "additionalProperties": false})"));
  ASSERT_TRUE(constraint) << constraint.error().message;
  for (unsigned seed = 0; seed < 60; ++seed) {
    const std::string text = draw(**constraint, 10 + seed, seed);
    const auto parsed = parse_json(text);
    ASSERT_TRUE(parsed) << text;
    ASSERT_TRUE(parsed->get_object().at("a").is_string()) << text;
  }
}

TEST_F(ConstraintCompilerTest, AChatThinksFirst) {
  AnswerDemands demands = schema(R"({"type": "boolean"})");
  demands.starts_in_reasoning = true;
  demands.is_chat = true;
  const auto constraint = compiler_.compile(demands);
  ASSERT_TRUE(constraint);
  const std::string text = draw(**constraint, 40, 1);
  const size_t close = text.find("</think>");
  ASSERT_NE(close, std::string::npos);
  const std::string content = text.substr(text.find_first_not_of('\n', close + 8));
  EXPECT_TRUE(content == "true" || content == "false") << text;
}

TEST_F(ConstraintCompilerTest, CallsCanBeForced) {
  for (const bool named : {false, true}) {
    const AnswerDemands demands{
        .output = {},
        .tools = tools(),
        .tool_choice = {named ? ToolChoice::Mode::named : ToolChoice::Mode::required,
                        named ? "add" : ""},
        .parallel_tool_calls = false,
        .is_chat = true};
    const auto constraint = compiler_.compile(demands);
    ASSERT_TRUE(constraint) << constraint.error().message;
    for (unsigned seed = 0; seed < 20; ++seed) {
      const std::string text = draw(**constraint, 120, seed);
      EXPECT_NE(text.find("<minimax:tool_call>\n<invoke name=\""), std::string::npos) << text;
      EXPECT_TRUE(text.ends_with("</invoke>\n</minimax:tool_call>")) << text;
      EXPECT_EQ(text.find("<invoke", text.find("<invoke") + 1), std::string::npos) << text;
      const bool adds =
          text.find("<invoke name=\"add\">\n<parameter name=\"n\">") != std::string::npos;
      EXPECT_TRUE(adds || !named) << text;
    }
  }
}

TEST_F(ConstraintCompilerTest, ErrorsNameTheField) {
  const auto refused = compiler_.compile(schema(R"({"$ref": "https://example.org/schema"})"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(refused.error().param.starts_with("response_format.json_schema.schema"))
      << refused.error().param;
  const auto endless = compiler_.compile(schema(R"({"$ref": "#"})"));
  ASSERT_FALSE(endless);
  EXPECT_TRUE(endless.error().param.starts_with("response_format.json_schema.schema"))
      << endless.error().param;

  AnswerDemands regex;
  regex.output = {.kind = StructuredOutput::Kind::regex, .text = "(", .param = "guided_regex"};
  const auto broken = compiler_.compile(regex);
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().param, "guided_regex");
}

}  // namespace
}  // namespace tetrad::api
