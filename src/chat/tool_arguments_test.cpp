#include "chat/tool_arguments.h"

#include <gtest/gtest.h>

namespace tetrad {
namespace {

/// The JSON of `text` for a parameter of this schema, in a tool that also has `definitions`.
std::string coerced(std::string_view text, std::string_view schema,
                    std::string_view definitions = "{}") {
  json::object parameters;
  parameters["properties"] = json::object{{"v", *parse_json(schema)}};
  parameters["$defs"] = *parse_json(definitions);
  ArgumentSchemas schemas(parameters);
  const ArgumentSchema* found = schemas.parameter("v");
  return found == nullptr ? "no schema" : argument_json(text, *found, schemas);
}

struct CoercionCase {
  const char* schema;
  const char* text;
  const char* json;
};

void expect_all(const std::vector<CoercionCase>& cases) {
  for (const CoercionCase& c : cases)
    EXPECT_EQ(coerced(c.text, c.schema), c.json) << c.schema << " of " << c.text;
}

TEST(ToolArguments, Integers) {
  expect_all({
      {R"({"type":"integer"})", "0", "0"},
      {R"({"type":"integer"})", " 12 ", "12"},
      {R"({"type":"integer"})", "-0", "0"},
      {R"({"type":"integer"})", "007", "7"},
      {R"({"type":"integer"})", "+7", "7"},
      {R"({"type":"integer"})", "18446744073709551616", "18446744073709551616"},
      {R"({"type":"integer"})", "2.5", "2.5"},  // no integer, but JSON
      {R"({"type":"integer"})", "5.0", "5"},
      {R"({"type":"integer"})", "1e3", "1000"},
      {R"({"type":"integer"})", "", "\"\""},
      {R"({"type":"integer"})", "-", "\"-\""},
      {R"({"type":"integer"})", "1_000", "\"1_000\""},
      {R"({"type":"integer"})", "0x10", "\"0x10\""},
      {R"({"type":"integer"})", "true", "true"},  // no integer, but JSON
      {R"({"type":"integer"})", "null", "\"null\""},
      {R"({"type":"integer"})", "\"5\"", "\"5\""},
  });
  const std::string huge(400, '9');
  EXPECT_EQ(coerced(huge, R"({"type":"integer"})"), '"' + huge + '"');
}

TEST(ToolArguments, Numbers) {
  expect_all({
      {R"({"type":"number"})", "2.50", "2.50"},
      {R"({"type":"number"})", "5.000", "5"},
      {R"({"type":"number"})", "5.", "5"},
      {R"({"type":"number"})", "-.5", "-0.5"},
      {R"({"type":"number"})", "+1.5", "1.5"},
      {R"({"type":"number"})", "00.5", "0.5"},
      {R"({"type":"number"})", "-5.0", "-5"},
      {R"({"type":"number"})", "1E3", "1000"},
      {R"({"type":"number"})", "15e-1", "15e-1"},
      {R"({"type":"number"})", "1e300", "1e300"},
      {R"({"type":"number"})", "1e999", "\"1e999\""},
      {R"({"type":"number"})", "-1e999", "\"-1e999\""},
      {R"({"type":"number"})", "1e", "\"1e\""},
      {R"({"type":"number"})", ".", "\".\""},
      {R"({"type":"number"})", "nan", "\"nan\""},
      {R"({"type":"number"})", "inf", "\"inf\""},
      {R"({"type":"number"})", "Infinity", "\"Infinity\""},
      {R"({"type":"number"})", "1,5", "\"1,5\""},
      {R"({"type":"number"})", "1 2", "\"1 2\""},
  });
}

TEST(ToolArguments, BooleansAndNull) {
  expect_all({
      {R"({"type":"boolean"})", "TRUE", "true"},
      {R"({"type":"boolean"})", "fAlse", "false"},
      {R"({"type":"boolean"})", "1", "true"},
      {R"({"type":"boolean"})", "0", "false"},
      {R"({"type":"boolean"})", "2", "2"},
      {R"({"type":"boolean"})", "on", "\"on\""},
      {R"({"type":"null"})", "Null", "null"},
      {R"({"type":"null"})", "none", "\"none\""},
      {R"({"type":["integer","boolean"]})", "1", "1"},
      {R"({"type":["boolean","null"]})", "null", "null"},
      {R"({"type":["string","null"]})", "null", "null"},
      {R"({"type":["string","null"]})", "nil", "\"nil\""},
      {R"({"type":["string","null"]})", "", "\"\""},
      {R"({"type":"string"})", "null", "\"null\""},
      {R"({"type":"integer","nullable":true})", "null", "null"},
      {R"({"type":"integer","nullable":false})", "null", "\"null\""},
      {R"({"nullable":true})", "x", "\"x\""},
  });
}

TEST(ToolArguments, TypesComeFromTheWholeSchema) {
  expect_all({
      {R"({})", "5", "\"5\""},
      {R"({"type":"date"})", "5", "\"5\""},
      {R"({"type":5})", "5", "\"5\""},
      {R"({"type":[]})", "5", "\"5\""},
      {R"({"type":["integer","string"]})", "5", "5"},
      {R"({"type":["integer","string"]})", "five", "\"five\""},
      {R"({"enum":[1,2.5,"x"]})", "2.5", "2.5"},
      {R"({"enum":["1","2"]})", "1", "\"1\""},
      {R"({"enum":[null,"a"]})", "null", "null"},
      {R"({"enum":[]})", "1", "\"1\""},
      {R"({"const":5})", "5", "5"},
      {R"({"const":{"a":1}})", "{\"a\": 1}", "{\"a\": 1}"},
      {R"({"anyOf":[{"type":"integer"},{"type":"null"}]})", "5", "5"},
      {R"({"anyOf":[{"anyOf":[{"type":"boolean"}]}]})", "true", "true"},
      {R"({"oneOf":[{"type":"number"},{"type":"string"}]})", "1.5", "1.5"},
      {R"({"allOf":[{"type":"integer"},{"minimum":3}]})", "5", "5"},
      {R"({"anyOf":[true,5,{"type":"integer"}]})", "5", "5"},
      {R"({"anyOf":{"type":"integer"}})", "5", "\"5\""},
  });
}

TEST(ToolArguments, References) {
  const char* definitions =
      R"({"n":{"type":"integer"},"a/b~c":{"$ref":"#/$defs/n"},"loop":{"$ref":"#/$defs/loop"},
          "list":[{"type":"integer"}]})";
  EXPECT_EQ(coerced("5", R"({"$ref":"#/$defs/n"})", definitions), "5");
  EXPECT_EQ(coerced("5", R"({"$ref":"#/$defs/a~1b~0c"})", definitions), "5");
  EXPECT_EQ(coerced("5", R"({"$ref":"#/$defs/list/0"})", definitions), "5");
  for (const char* ref : {"#/$defs/loop", "#/$defs/none", "#/$defs/list/9", "#/$defs/list/x", "#",
                          "#/", "", "https://example.org/schema", "#/properties/v"})
    EXPECT_EQ(coerced("5", fmt::format(R"({{"$ref":"{}"}})", ref), definitions), "\"5\"") << ref;
}

TEST(ToolArguments, ObjectsAndArrays) {
  expect_all({
      {R"({"type":"object"})", "{}", "{}"},
      {R"({"type":"object"})", "\n { \"b\" : [ ] , \"a\" : { } } ", R"({"b": [], "a": {}})"},
      {R"({"type":"object"})", R"({"é":"ü\u00fc\n"})", R"({"é": "üü\n"})"},
      {R"({"type":"object"})", R"({"a":1,"a":2})", R"({"a": 2})"},
      {R"({"type":"object"})", R"({"a":1,"b":0,"a":{"c":[3]}})", R"({"a": {"c": [3]}, "b": 0})"},
      {R"({"type":"object"})", R"({"a":12345678901234567890.10})",
       R"({"a": 12345678901234567890.10})"},
      {R"({"type":"object"})", "{\"a\":1e999}", R"("{\"a\":1e999}")"},
      {R"({"type":"object"})", "{\"a\":1,}", R"("{\"a\":1,}")"},
      {R"({"type":"object"})", "{\"a\":\"\\ud800\"}", R"("{\"a\":\"\\ud800\"}")"},
      {R"({"type":"object"})", "{} x", R"("{} x")"},
      {R"({"type":"object"})", "5", "5"},
      {R"({"type":["object","string"]})", "5", "\"5\""},
      {R"({"type":["object","string"]})", "[5]", "\"[5]\""},
      {R"({"type":["array","string"]})", "[5]", "[5]"},
      {R"({"type":"array"})", "[1, \"2\", [null, false]]", R"([1, "2", [null, false]])"},
  });
}

TEST(ToolArguments, WhatIsInsideIsCoercedToo) {
  expect_all({
      {R"({"type":"array","items":{"type":"integer"}})", R"(["1",2,"x"])", R"([1, 2, "x"])"},
      {R"({"type":"array","items":{"type":"string"}})", R"(["1",2])", R"(["1", 2])"},
      {R"({"type":"array","items":{"type":["string","null"]}})", R"(["null"])", R"(["null"])"},
      {R"({"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"boolean"}})",
       R"(["1","1"])", "[1, true]"},
      {R"({"type":"object","properties":{"n":{"type":"number"}}})", R"({"n":"5.0","m":"5.0"})",
       R"({"n": 5, "m": "5.0"})"},
      {R"({"type":"object","properties":{"n":{"type":"number"}}})", R"({"n":5.0})", R"({"n": 5})"},
      {R"({"type":"object","properties":{"o":{"type":"object","properties":{"b":{"type":"boolean"}}}}})",
       R"({"o":"{\"b\":\"true\"}"})", R"({"o": {"b": true}})"},
      {R"({"anyOf":[{"type":"object","properties":{"n":{"type":"integer"}}},{"type":"null"}]})",
       R"({"n":"1"})", R"({"n": 1})"},
  });
}

TEST(ToolArguments, DepthIsLimited) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  const char* array = R"({"type":"array"})";
  EXPECT_EQ(coerced(nested(kMaxArgumentDepth), array), nested(kMaxArgumentDepth));
  EXPECT_EQ(coerced(nested(kMaxArgumentDepth + 1), array),
            '"' + nested(kMaxArgumentDepth + 1) + '"');
  // JSON in a string within JSON counts from the outside.
  EXPECT_EQ(coerced("[\"" + nested(kMaxArgumentDepth) + "\"]",
                    R"({"type":"array","items":{"type":"array"}})"),
            "[\"" + nested(kMaxArgumentDepth) + "\"]");
}

TEST(ToolArguments, UnknownParametersHaveNoSchema) {
  const json::object parameters{{"properties", json::object{{"a", json::object()}}}};
  ArgumentSchemas schemas(parameters);
  EXPECT_EQ(schemas.parameter("b"), nullptr);
  EXPECT_NE(schemas.parameter("a"), nullptr);
  EXPECT_EQ(schemas.parameter("a"), schemas.parameter("a"));  // looked up once
}

}  // namespace
}  // namespace tetrad
