#include <gtest/gtest.h>

#include "grammar/schema_checks_for_tests.h"

namespace tetrad::grammar {
namespace {

TEST(JsonSchemaObjects, PropertiesComeInAnyOrderAndOnce) {
  constexpr std::string_view kSchema = R"({"type":"object","properties":{"a":{"type":"integer"},
      "b":{"type":"string"}},"required":["a"],"additionalProperties":false})";
  EXPECT_EQ(schema_faults(kSchema, {R"({"a":1})", R"({"a":1,"b":"x"})", R"({"b":"x","a":1})"},
                          {"{}", R"({"b":"x"})", R"({"a":1,"a":2})", R"({"a":1,"c":2})",
                           R"({"\u0061":1})", R"({"a":"1"})"}),
            "ok");
}

TEST(JsonSchemaObjects, OtherKeys) {
  EXPECT_EQ(schema_faults(R"({"type":"object","properties":{"a":{"type":"null"}},
                              "additionalProperties":{"type":"integer"}})",
                          {"{}", R"({"b":1})", R"({"a":null,"aa":1})", R"({"":1})"},
                          {R"({"a":1})", R"({"b":null})", R"({"\u0061":1})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"object","patternProperties":{"^a":{"type":"integer"},
                              "b$":{"minimum":3}},"additionalProperties":false})",
                          {R"({"a":1})", R"({"b":5})", R"({"ab":4})", R"({"b":"x"})"},
                          {R"({"ab":2})", R"({"ab":"x"})", R"({"c":1})", R"({"a":"x"})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"object","properties":{"ab":{"maximum":9}},
                              "patternProperties":{"^a":{"type":"integer"}}})",
                          {R"({"ab":9})", R"({"z":{}})"}, {R"({"ab":10})", R"({"ab":"x"})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"object","required":["x"]})", {R"({"y":1,"x":2})"}, {"{}"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"object","properties":{"a":false}})", {"{}", R"({"b":1})"},
                          {R"({"a":1})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"object","additionalProperties":false})", {"{}", "{ }"},
                          {R"({"a":1})"}),
            "ok");
}

TEST(JsonSchemaObjects, PropertyNames) {
  EXPECT_EQ(
      schema_faults(R"({"type":"object","propertyNames":{"pattern":"^[ab]+$","maxLength":2}})",
                    {"{}", R"({"a":1,"bb":2})"}, {R"({"c":1})", R"({"aaa":1})"}),
      "ok");
  EXPECT_EQ(schema_faults(R"({"type":"object","propertyNames":{"enum":["x","y"]},"minProperties":2,
                              "patternProperties":{"x":{"type":"null"}},
                              "additionalProperties":{"type":"integer"}})",
                          {R"({"x":null,"y":1})"},
                          {R"({"x":null})", R"({"x":1,"y":1})", R"({"x":null,"z":1})",
                           R"({"x":null,"x":null})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"object","propertyNames":false})", {"{}"}, {R"({"a":1})"}),
            "ok");
}

TEST(JsonSchemaObjects, Counts) {
  EXPECT_EQ(schema_faults(R"({"type":"object","minProperties":1,"maxProperties":2})",
                          {R"({"a":1})", R"({"a":1,"b":1})"}, {"{}", R"({"a":1,"b":1,"c":1})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"object","properties":{"a":true,"b":true,"c":true},
                              "additionalProperties":false,"minProperties":2})",
                          {R"({"c":1,"b":1})"}, {R"({"a":1})", R"({"a":1,"a":1})"}),
            "ok");
  // One more than is required is another key, whichever.
  EXPECT_EQ(schema_faults(R"({"type":"object","required":["a"],"minProperties":2})",
                          {R"({"a":1,"b":1})"}, {R"({"a":1})", R"({"a":1,"a":2})"}),
            "ok");
  EXPECT_EQ(refused_at(R"({"minProperties":2})"), "schema.minProperties");
}

TEST(JsonSchemaObjects, Dependencies) {
  EXPECT_EQ(schema_faults(R"({"type":"object","dependentRequired":{"a":["b"]}})",
                          {"{}", R"({"b":1})", R"({"a":1,"b":1})"}, {R"({"a":1})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"object","dependentSchemas":{"a":{"properties":{"b":
                              {"type":"null"}}}}})",
                          {R"({"b":1})", R"({"a":1,"b":null})"}, {R"({"a":1,"b":1})"}),
            "ok");
  EXPECT_EQ(
      schema_faults(R"({"dependencies":{"a":["b"],"c":{"required":["d"]}}})",
                    {"3", R"({"a":1,"b":1})", R"({"c":1,"d":1})"}, {R"({"a":1})", R"({"c":1})"}),
      "ok");
}

TEST(JsonSchemaObjects, UnevaluatedProperties) {
  EXPECT_EQ(schema_faults(R"({"type":"object","allOf":[{"$ref":"#/$defs/base"}],
                              "$defs":{"base":{"properties":{"a":true}}},
                              "properties":{"b":true},"unevaluatedProperties":false})",
                          {"{}", R"({"a":1,"b":1})"}, {R"({"c":1})"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"object","oneOf":[{"properties":{"k":{"const":1},"a":true},
                              "required":["k"]},{"properties":{"k":{"const":2},"b":true},
                              "required":["k"]}],"unevaluatedProperties":false})",
                          {R"({"k":1,"a":1})", R"({"k":2,"b":1})"},
                          {R"({"k":1,"b":1})", R"({"k":2,"a":1})"}),
            "ok");
  EXPECT_EQ(refused_at(R"({"anyOf":[{"properties":{"a":true}},{"properties":{"b":true}}],
                           "unevaluatedProperties":false})"),
            "schema.unevaluatedProperties");
}

}  // namespace
}  // namespace tetrad::grammar
