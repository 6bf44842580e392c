#include "api/structured_output.h"

#include <gtest/gtest.h>

namespace tetrad::api {
namespace {

Result<StructuredOutput> read(const char* text) {
  const json::value body = json::parse(text);
  FieldReader fields(body.get_object());
  return read_structured_output(fields);
}

using Kind = StructuredOutput::Kind;

TEST(StructuredOutput, EveryFormHasItsFields) {
  struct Case {
    const char* body;
    Kind kind;
    const char* param;
  };
  const Case cases[] = {
      {"{}", Kind::none, ""},
      {R"({"response_format": null, "structured_outputs": null})", Kind::none, ""},
      {R"({"response_format": {"type": "text"}})", Kind::none, ""},
      {R"({"response_format": {"type": "json_object"}})", Kind::json_object, "response_format"},
      {R"({"response_format": {"type": "json_schema",
           "json_schema": {"name": "n", "strict": false, "schema": {"type": "null"}}}})",
       Kind::json_schema, "response_format.json_schema.schema"},
      {R"({"structured_outputs": {"json": {"type": "null"}, "disable_fallback": true}})",
       Kind::json_schema, "structured_outputs.json"},
      {R"({"structured_outputs": {"json": "{\"type\": \"null\"}"}})", Kind::json_schema,
       "structured_outputs.json"},
      {R"({"structured_outputs": {"json_object": true}})", Kind::json_object,
       "structured_outputs.json_object"},
      {R"({"structured_outputs": {"regex": "a+"}})", Kind::regex, "structured_outputs.regex"},
      {R"({"structured_outputs": {"choice": ["a", "b"]}})", Kind::choice,
       "structured_outputs.choice"},
      {R"({"structured_outputs": {"grammar": "root ::= \"a\""}})", Kind::grammar,
       "structured_outputs.grammar"},
      {R"({"guided_json": true})", Kind::json_schema, "guided_json"},
      {R"({"guided_regex": "a+"})", Kind::regex, "guided_regex"},
      {R"({"guided_choice": ["a"]})", Kind::choice, "guided_choice"},
      {R"({"guided_grammar": "x"})", Kind::grammar, "guided_grammar"},
  };
  for (const Case& one : cases) {
    const auto output = read(one.body);
    ASSERT_TRUE(output) << one.body << ": " << output.error().message;
    EXPECT_EQ(output->kind, one.kind) << one.body;
    EXPECT_EQ(output->param, one.param) << one.body;
  }
}

TEST(StructuredOutput, RefusalsNameTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"response_format": "json"})", "response_format"},
      {R"({"response_format": {}})", "response_format.type"},
      {R"({"response_format": {"type": "structural_tag"}})", "response_format.type"},
      {R"({"response_format": {"type": "json_schema"}})", "response_format.json_schema"},
      {R"({"response_format": {"type": "json_schema", "json_schema": {}}})",
       "response_format.json_schema.schema"},
      {R"({"response_format": {"type": "json_schema", "json_schema": {"schema": 1}}})",
       "response_format.json_schema.schema"},
      {R"({"structured_outputs": {}})", "structured_outputs"},
      {R"({"structured_outputs": {"regex": 1}})", "structured_outputs.regex"},
      {R"({"structured_outputs": {"regex": "a", "choice": ["a"]}})", "structured_outputs.choice"},
      {R"({"structured_outputs": {"choice": []}})", "structured_outputs.choice"},
      {R"({"structured_outputs": {"choice": [1]}})", "structured_outputs.choice"},
      {R"({"structured_outputs": {"json": "{"}})", "structured_outputs.json"},
      {R"({"structured_outputs": {"regex": "a", "whitespace_pattern": " "}})",
       "structured_outputs.whitespace_pattern"},
      {R"({"structured_outputs": {"json": {}, "disable_any_whitespace": true}})",
       "structured_outputs.disable_any_whitespace"},
      {R"({"response_format": {"type": "json_object"}, "guided_regex": "a"})", "guided_regex"},
  };
  for (const auto& [body, param] : cases) {
    const auto output = read(body);
    ASSERT_FALSE(output) << body;
    EXPECT_EQ(output.error().param, param) << output.error().message;
  }
}

}  // namespace
}  // namespace tetrad::api
