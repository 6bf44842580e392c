#include <gtest/gtest.h>

#include <fmt/format.h>

#include "grammar/schema_checks_for_tests.h"

namespace tetrad::grammar {
namespace {

TEST(JsonSchemaCombinations, AllOfMerges) {
  EXPECT_EQ(schema_faults(R"({"type":"object","allOf":[{"properties":{"a":{"minimum":5}},
                              "required":["a"]},{"properties":{"a":{"type":"integer"}},
                              "additionalProperties":false}]})",
                          {R"({"a":5})"}, {"{}", R"({"a":4})", R"({"a":"x"})", R"({"a":5,"b":1})"}),
            "ok");
}

TEST(JsonSchemaCombinations, AnyOfWithSiblings) {
  EXPECT_EQ(schema_faults(R"({"type":"object","properties":{"a":{"type":"integer"},"b":true},
                              "anyOf":[{"required":["a"]},{"required":["b"]}],
                              "additionalProperties":false})",
                          {R"({"a":1})", R"({"b":1})", R"({"b":1,"a":1})"}, {"{}", R"({"a":""})"}),
            "ok");
  EXPECT_EQ(
      schema_faults(R"({"anyOf":[{"type":"string"},{"type":"null"}]})", {"\"\"", "null"}, {"1"}),
      "ok");
}

TEST(JsonSchemaCombinations, OneOf) {
  EXPECT_EQ(schema_faults(R"({"oneOf":[{"type":"string"},{"type":"integer"},{"const":1.5}]})",
                          {"\"\"", "3", "1.5"}, {"2.5"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"oneOf":[{"const":"a","title":"A"},{"const":"b"}]})",
                          {"\"a\"", "\"b\""}, {"\"c\""}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"oneOf":[{"type":"string","pattern":"^a"},
                              {"type":"string","pattern":"^b"},{"minimum":5,"type":"number"},
                              {"type":"number","exclusiveMaximum":5}]})",
                          {"\"ax\"", "\"bx\"", "5", "4"}, {"\"c\""}),
            "ok");
  // Not disjoint, but each has an opposite.
  EXPECT_EQ(schema_faults(R"({"type":"object","oneOf":[{"required":["a"]},{"required":["b"]}]})",
                          {R"({"a":1})", R"({"b":1})"}, {"{}", R"({"a":1,"b":1})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"oneOf":[{"type":"integer"},{"minimum":2}]})", {"1", "2.5", "\"\""},
                          {"3", "1.5"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"string","oneOf":[{"minLength":2},{"maxLength":4}]})",
                          {"\"a\"", "\"abcde\""}, {"\"abc\""}),
            "ok");
  EXPECT_EQ(refused_at(R"({"properties":{"x":{"oneOf":[{"type":"string","format":"ipv4"},
                           {"type":"string","pattern":"1"}]}}})"),
            "schema.properties.x.oneOf");
}

TEST(JsonSchemaCombinations, OneOfToldApartByAProperty) {
  EXPECT_EQ(schema_faults(R"({"type":"object","required":["kind"],"oneOf":[
                              {"properties":{"kind":{"const":"a"},"v":{"type":"integer"}}},
                              {"properties":{"kind":{"enum":["b","c"]},"v":{"type":"string"}}}]})",
                          {R"({"kind":"a","v":1})", R"({"v":"x","kind":"c"})"},
                          {R"({"kind":"a","v":"x"})", R"({"v":1})", R"({"kind":"d"})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"object","oneOf":[{"required":["a"],"properties":{"a":true},
                              "additionalProperties":false},{"required":["b"],
                              "properties":{"b":true},"additionalProperties":false}]})",
                          {R"({"a":1})", R"({"b":1})"}, {"{}", R"({"a":1,"b":1})"}),
            "ok");
}

TEST(JsonSchemaCombinations, Not) {
  EXPECT_EQ(
      schema_faults(R"({"not":{"type":["object","array"]}})", {"1", "\"\"", "null"}, {"{}", "[]"}),
      "ok");
  EXPECT_EQ(schema_faults(R"({"type":"string","not":{"enum":["a","b"]}})", {"\"c\"", "\"aa\""},
                          {"\"a\"", "\"b\""}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"object","not":{"required":["a"]}})", {"{}", R"({"b":1})"},
                          {R"({"a":1})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"not":false,"type":"null"})", {"null"}, {"1"}), "ok");
  EXPECT_EQ(schema_faults(R"({"not":{"anyOf":[{"type":"string"},{"not":{"type":"integer"}}]}})",
                          {"1"}, {"\"\"", "1.5", "{}"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"array","not":{"maxItems":1}})", {"[1,2]"}, {"[]", "[1]"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"array","not":{"minItems":1}})", {"[]"}, {"[1]"}), "ok");
  EXPECT_EQ(schema_faults(R"({"type":["object","null"],"not":{"type":"object","minProperties":1}})",
                          {"{}", "null"}, {R"({"a":1})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"number","not":{"minimum":3,"exclusiveMinimum":true}})",
                          {"3", "-1"}, {"4"}),
            "ok");
  EXPECT_FALSE(compiled_schema(R"({"type":"string","not":{"minLength":0}})"));
  EXPECT_FALSE(compiled_schema(R"({"type":"array","not":{"minItems":0}})"));
  EXPECT_FALSE(compiled_schema(R"({"type":"object","not":{"minProperties":0}})"));
  EXPECT_FALSE(compiled_schema(R"({"type":"object","minProperties":1,"maxProperties":0})"));
  EXPECT_FALSE(compiled_schema(R"({"type":"string","minLength":3,"maxLength":2})"));
  EXPECT_FALSE(compiled_schema(R"({"not":{}})"));
  EXPECT_EQ(refused_at(R"({"properties":{"a":{"not":{"format":"date"}}}})"),
            "schema.properties.a.not.format");
  EXPECT_EQ(refused_at(R"({"not":{"const":{"a":1}}})"), "schema.not.const");
}

TEST(JsonSchemaCombinations, IfThenElse) {
  EXPECT_EQ(schema_faults(R"({"type":"object","if":{"properties":{"k":{"const":1}},
                              "required":["k"]},"then":{"required":["z"]},"else":{"required":["y"]}})",
                          {R"({"k":1,"z":0})", R"({"k":2,"y":0})", R"({"y":0})"},
                          {R"({"k":1,"y":0})", R"({"k":2,"z":0})", "{}"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"null","if":{"format":"x"}})", {"null"}, {}), "ok");
  EXPECT_EQ(schema_faults(R"({"type":"string","if":{"pattern":"a"},"then":{"maxLength":1}})",
                          {"\"a\"", "\"bc\""}, {"\"ab\""}),
            "ok");
  EXPECT_EQ(refused_at(R"({"if":{"multipleOf":2},"then":false})"), "schema.if.multipleOf");
}

TEST(JsonSchemaCombinations, References) {
  constexpr std::string_view kTree = R"({"$defs":{"node":{"type":"object","properties":{"v":
      {"type":"integer"},"next":{"$ref":"#/$defs/node"}},"required":["v"],
      "additionalProperties":false}},"$ref":"#/$defs/node"})";
  EXPECT_EQ(schema_faults(kTree, {R"({"v":1})", R"({"v":1,"next":{"next":{"v":3},"v":2}})"},
                          {"{}", R"({"v":1,"next":{}})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"$defs":{"a/b~c%":{"type":"null"}},"$ref":"#/$defs/a~1b~0c%25"})",
                          {"null"}, {"1"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"$defs":{"x":{"$anchor":"here","type":"null"}},"$ref":"#here"})",
                          {"null"}, {"1"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"$id":"http://x.org/root.json","$defs":{"x":{"$id":"y.json","$defs":
                              {"z":{"type":"null"}}}},"$ref":"y.json#/$defs/z"})",
                          {"null"}, {"1"}),
            "ok");
  // Since 2019-09, siblings of a reference count; up to draft 7 they do not.
  EXPECT_EQ(schema_faults(R"({"$defs":{"s":{"type":"string"}},"$ref":"#/$defs/s","maxLength":1})",
                          {"\"a\""}, {"\"aa\""}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"$schema":"http://json-schema.org/draft-07/schema#","definitions":
                              {"s":{"type":"string"}},"$ref":"#/definitions/s","maxLength":1})",
                          {"\"aa\""}, {"1"}),
            "ok");
  EXPECT_EQ(refused_at(R"({"properties":{"a":{"$ref":"http://x.org/y"}}})"),
            "schema.properties.a.$ref");
  EXPECT_EQ(refused_at(R"({"$ref":"#/$defs/none"})"), "schema.$ref");
  EXPECT_EQ(refused_at(R"({"items":{"$dynamicRef":"#x"}})"), "schema.items.$dynamicRef");
  EXPECT_EQ(refused_at(R"({"$schema":"http://x.org/mine"})"), "schema.$schema");
}

TEST(JsonSchemaCombinations, SchemasWithoutAnEndAreRefused) {
  EXPECT_EQ(refused_at(R"({"$ref":"#"})"), "schema");
  EXPECT_EQ(refused_at(R"({"anyOf":[{"type":"null"},{"$ref":"#"}]})"), "schema");
  EXPECT_EQ(refused_at(R"({"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},
                           "b":{"allOf":[{"$ref":"#/$defs/a"}]}}})"),
            "schema.$defs.a");
  // Each value needs another one within.
  const auto grammar =
      compiled_schema(R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})");
  EXPECT_FALSE(grammar);
}

// Every one has to end within a second or so, whatever the outcome; a test that hangs fails.
TEST(JsonSchemaCombinations, Bombs) {
  std::string choices = R"({"allOf":[)";
  for (int i = 0; i < 30; ++i)
    choices += fmt::format(R"({}{{"anyOf":[{{"required":["a{}"]}},{{"required":["b{}"]}}]}})",
                           i > 0 ? "," : "", i, i);
  EXPECT_EQ(refused_at(choices + "]}"), "schema");

  std::string doubling = R"({"$defs":{"d0":{"required":["x"]})";
  for (int i = 1; i < 60; ++i)
    doubling +=
        fmt::format(R"(,"d{}":{{"allOf":[{{"$ref":"#/$defs/d{}"}},{{"$ref":"#/$defs/d{}"}}]}})", i,
                    i - 1, i - 1);
  EXPECT_EQ(schema_faults(doubling + R"(},"$ref":"#/$defs/d59"})", {R"({"x":1})"}, {"{}"}), "ok");

  std::string chain = R"({"$defs":{"d0":{"type":"null"})";
  for (int i = 1; i < 20'000; ++i)
    chain += fmt::format(R"(,"d{}":{{"$ref":"#/$defs/d{}"}})", i, i - 1);
  EXPECT_EQ(schema_faults(chain + R"(},"$ref":"#/$defs/d19999"})", {"null"}, {"1"}), "ok");

  std::string deep;
  for (int i = 0; i < 1000; ++i)
    deep += R"({"items":)";
  EXPECT_EQ(refused_at(deep + "true" + std::string(1000, '}')), "schema");

  EXPECT_EQ(refused_at(R"({"title":")" + std::string(2 << 20, 'x') + "\"}"), "schema");
}

TEST(JsonSchemaCombinations, LargeButPlain) {
  std::string names = R"({"enum":["n0")";
  for (int i = 1; i < 100'000; ++i)
    names += fmt::format(R"(,"n{}")", i);
  EXPECT_EQ(schema_faults(names + "]}", {R"("n99999")", R"("n7")"}, {R"("n100000")"}), "ok");

  std::string object = R"({"type":"object","properties":{"p0":{"type":"integer"})";
  for (int i = 1; i < 3000; ++i)
    object += fmt::format(R"(,"p{}":{{"type":"integer"}})", i);
  EXPECT_EQ(schema_faults(object + R"(},"additionalProperties":false})", {R"({"p2999":1,"p0":2})"},
                          {R"({"p3000":1})", R"({"p1":1,"p1":1})"}),
            "ok");

  std::string options = R"({"oneOf":[)";
  for (int i = 0; i < 200; ++i)
    options += fmt::format(R"({}{{"type":"object","properties":{{"k":{{"const":{}}}}},)"
                           R"("required":["k"]}})",
                           i > 0 ? "," : "", i);
  EXPECT_EQ(schema_faults(options + "]}", {R"({"k":199})"}, {R"({"k":200})"}), "ok");
}

}  // namespace
}  // namespace tetrad::grammar
