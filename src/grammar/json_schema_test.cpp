#include <gtest/gtest.h>

#include "grammar/schema_checks_for_tests.h"

namespace tetrad::grammar {
namespace {

TEST(JsonSchema, EverythingIsAnyJson) {
  for (const std::string_view schema :
       {"true", "{}", R"({"title":"t","unknown":[1],"default":3,"$schema":
         "https://json-schema.org/draft/2020-12/schema","format":"color"})"}) {
    EXPECT_EQ(schema_faults(schema,
                            {"null", "true", "-1.5e3", R"("a\n\u00e9\ud83d\ude00")", "[]", "{}",
                             R"({"a": [1, {"b": null}], "a":2})", "[\n  1,\n  2\n]"},
                            {"", " 1", "1 ", "nul", "[1,]", "{\"a\":}", "\"\\ud83d\"", "'a'",
                             "[1,\n\n2]", "NaN"}),
              "ok");
  }
}

TEST(JsonSchema, AnyJsonNeedsNoSchema) {
  Builder builder;
  const Result<NodeId> object = add_any_json_object(builder);
  ASSERT_TRUE(object);
  const Result<Grammar> objects = std::move(builder).finish(*object);
  ASSERT_TRUE(objects) << objects.error().message;
  EXPECT_TRUE(matches(*objects, R"({"a":[{}]})"));
  EXPECT_FALSE(matches(*objects, "[]"));
  Builder other;
  const Result<NodeId> any = add_any_json(other);
  ASSERT_TRUE(any);
  const Result<Grammar> values = std::move(other).finish(*any);
  ASSERT_TRUE(values);
  EXPECT_TRUE(matches(*values, R"([{"a":[{}]}])"));
}

TEST(JsonSchema, WhiteSpaceIsBounded) {
  constexpr std::string_view kSchema = R"({"properties":{"a":{"const":1}},"required":["a"]})";
  EXPECT_EQ(
      schema_faults(
          kSchema,
          {R"({"a":1})", R"({ "a": 1 })", "{\n  \"a\": 1,\n  \"b\": []\n}", "{\n\t\t\"a\": 1\n}"},
          {R"({"a" :1})", R"({"a":  1})", R"({  "a":1})", "{\n\n\"a\":1}", R"({"a":1 ,"b":2})"}),
      "ok");
}

TEST(JsonSchema, Types) {
  EXPECT_EQ(schema_faults(R"({"type":"integer"})", {"0", "-12"}, {"1.5", "\"1\"", "01"}), "ok");
  EXPECT_EQ(
      schema_faults(R"({"type":["null","boolean"]})", {"null", "true", "false"}, {"0", "\"null\""}),
      "ok");
  EXPECT_EQ(schema_faults(R"({"type":"string","nullable":true})", {"\"\"", "null"}, {"1"}), "ok");
  EXPECT_EQ(schema_faults(R"({"type":"array"})", {"[]", "[1,\"a\"]"}, {"{}"}), "ok");
  EXPECT_EQ(refused_at(R"({"type":"strin"})"), "schema.type");
  EXPECT_EQ(refused_at(R"({"type":[]})"), "");  // finish() has no param to name
  EXPECT_FALSE(compiled_schema(R"({"type":[]})"));
}

TEST(JsonSchema, KeywordsOfOneTypeLeaveTheOthersAlone) {
  EXPECT_EQ(schema_faults(R"({"minLength":2,"minimum":5,"minItems":1,"required":["a"]})",
                          {"\"ab\"", "5", "[0]", "{\"a\":1}", "null"}, {"\"a\"", "4", "[]", "{}"}),
            "ok");
}

TEST(JsonSchema, EnumAndConst) {
  constexpr std::string_view kSchema = R"({"enum":["a\n\"",1.0,null,false,[1,{"x":2,"y":[]}]]})";
  EXPECT_EQ(schema_faults(kSchema,
                          {R"("a\n\"")", "1", "null", "false", R"([1,{"x":2,"y":[]}])",
                           R"([1, {"y": [], "x": 2}])"},
                          {"\"a\"", "true", "2", "[1]", R"([1,{"x":2}])",
                           R"([1,{"x":2,"y":[],"z":1}])", R"([1,{"x":2,"y":[1]}])"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"const":"é"})", {"\"é\""}, {"\"e\""}), "ok");
  EXPECT_EQ(schema_faults(R"({"enum":[1,2,"aa","b",[1]],"minimum":2,"minLength":2,"minItems":2})",
                          {"2", "\"aa\""}, {"1", "\"b\"", "[1]"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"allOf":[{"enum":[1,2,3,"a"]},{"enum":[3.0,2,"b"]}],"const":3})",
                          {"3"}, {"2", "1", "\"a\""}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"const":{"a":{"b":1}},"properties":{"a":{"properties":{"b":true}}}})",
                          {R"({"a":{"b":1}})"}, {"{}", R"({"a":{}})"}),
            "ok");
}

TEST(JsonSchema, Strings) {
  EXPECT_EQ(
      schema_faults(R"({"type":"string","minLength":1,"maxLength":2})",
                    {"\"a\"", "\"é😀\"", R"("\ud83d\ude00a")", R"("\n\t")"}, {"\"\"", "\"abc\""}),
      "ok");
  EXPECT_EQ(schema_faults(R"({"type":"string","pattern":"b+"})", {"\"abc\"", "\"b\""},
                          {"\"ac\"", "\"\""}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"string","pattern":"^[a-z]*$","maxLength":3,"minLength":2})",
                          {"\"ab\"", "\"abc\""}, {"\"a\"", "\"abcd\"", "\"A1\""}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"string","maxLength":100000})", {"\"ab\"", "\"\""}, {}), "ok");
  EXPECT_EQ(refused_at(R"({"properties":{"a":{"pattern":"(a"}}})"), "schema.properties.a.pattern");
  EXPECT_EQ(refused_at(R"({"pattern":"(?=a)b"})"), "schema.pattern");
  EXPECT_EQ(refused_at(R"({"minLength":-1})"), "schema.minLength");
}

TEST(JsonSchema, Numbers) {
  EXPECT_EQ(schema_faults(R"({"type":"integer","minimum":-3,"exclusiveMaximum":12})",
                          {"-3", "0", "11"}, {"-4", "12", "1.5"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"number","minimum":1,"exclusiveMinimum":true})", {"1.5", "2"},
                          {"1", "0"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"allOf":[{"multipleOf":4},{"multipleOf":6}],"type":"integer"})",
                          {"0", "12", "24"}, {"4", "6", "13"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"not":{"type":"integer"},"type":"number"})", {"0.5", "-1.25"},
                          {"1", "1.0", "0"}),
            "ok");
  EXPECT_EQ(refused_at(R"({"multipleOf":0})"), "schema.multipleOf");
  EXPECT_EQ(refused_at(R"({"minimum":"1"})"), "schema.minimum");
}

TEST(JsonSchema, Arrays) {
  EXPECT_EQ(
      schema_faults(R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":2})",
                    {"[1]", "[1,2]"}, {"[]", "[1,2,3]", "[\"a\"]"}),
      "ok");
  constexpr std::string_view kTuple = R"({"prefixItems":[{"type":"integer"},{"type":"string"}],)";
  EXPECT_EQ(schema_faults(std::string(kTuple) + R"("items":false,"type":"array"})",
                          {"[]", "[1]", "[1,\"a\"]"}, {"[\"a\"]", "[1,\"a\",2]"}),
            "ok");
  EXPECT_EQ(schema_faults(std::string(kTuple) + R"("items":{"type":"null"},"minItems":3})",
                          {"[1,\"a\",null]", "[1,\"a\",null,null]"}, {"[1,\"a\"]", "[1,\"a\",2]"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"items":[{"type":"integer"}],"additionalItems":{"type":"null"}})",
                          {"[1,null]", "[]"}, {"[null]", "[1,1]"}),
            "ok");
  EXPECT_EQ(
      schema_faults(R"({"prefixItems":[true,false],"type":"array"})", {"[]", "[1]"}, {"[1,2]"}),
      "ok");
  EXPECT_EQ(schema_faults(R"({"type":"array","items":{"type":"integer"},"contains":{"minimum":5}})",
                          {"[5]", "[1,7,2]"}, {"[]", "[1,2]", "[1,7,\"a\"]"}),
            "ok");
  EXPECT_EQ(refused_at(R"({"contains":true,"maxContains":2})"), "schema.maxContains");
  EXPECT_EQ(refused_at(R"({"contains":true,"minItems":2})"), "schema.contains");
}

TEST(JsonSchema, UniqueItems) {
  EXPECT_EQ(schema_faults(R"({"items":{"enum":["a","b","c"]},"uniqueItems":true,"type":"array",
                              "minItems":2})",
                          {R"(["a","c"])", R"(["c","b","a"])"},
                          {R"(["a"])", R"(["a","a"])", R"(["a","d"])"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"array","uniqueItems":true,"maxItems":1})", {"[1]", "[]"},
                          {"[1,1]"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"array","uniqueItems":false})", {"[1,1]"}, {}), "ok");
  EXPECT_EQ(refused_at(R"({"properties":{"l":{"uniqueItems":true}}})"),
            "schema.properties.l.uniqueItems");
}

TEST(JsonSchema, UnevaluatedItems) {
  EXPECT_EQ(schema_faults(R"({"type":"array","allOf":[{"prefixItems":[{"type":"null"}]}],
                              "unevaluatedItems":false})",
                          {"[]", "[null]"}, {"[1]", "[null,null]"}),
            "ok");
  EXPECT_EQ(schema_faults(R"({"type":"array","items":{"type":"null"},"unevaluatedItems":false})",
                          {"[]", "[null,null]"}, {"[1]"}),
            "ok");
}

TEST(JsonSchema, Formats) {
  const auto check = [](const std::string& format, const std::vector<std::string>& accepted,
                        const std::vector<std::string>& rejected) {
    return schema_faults(R"({"type":"string","format":")" + format + "\"}", accepted, rejected);
  };
  EXPECT_EQ(check("date", {R"("2024-02-29")", R"("2023-12-31")", R"("2000-02-29")"},
                  {R"("2023-02-29")", R"("1900-02-29")", R"("2024-04-31")", R"("2024-13-01")"}),
            "ok");
  EXPECT_EQ(check("date-time", {R"("2024-02-29T23:59:60Z")", R"("1990-12-31T15:59:59.123-08:00")"},
                  {R"("2024-02-29 10:00:00Z")", R"("2024-02-29T10:00:00")",
                   R"("2024-02-29T10:59:60Z")", R"("2024-02-29T24:00:00Z")"}),
            "ok");
  EXPECT_EQ(check("time", {R"("08:30:06Z")", R"("08:30:06.283+01:00")"},
                  {R"("08:30:06")", R"("8:30:06Z")"}),
            "ok");
  EXPECT_EQ(check("duration", {R"("P4Y")", R"("PT1M")", R"("P2W")", R"("P1DT2H")"},
                  {R"("P")", R"("PT")", R"("P1D2H")", R"("P2D1Y")", R"("P1W2D")", R"("4Y")"}),
            "ok");
  EXPECT_EQ(check("email", {R"("joe.bloggs+x@example.co.uk")"},
                  {R"("2962")", R"(".a@b.c")", R"("a..b@c.de")", R"("a@-b.c")", R"("a@b")"}),
            "ok");
  EXPECT_EQ(
      check("hostname", {R"("www.example.com")", R"("a")", "\"" + std::string(63, 'a') + "\""},
            {R"("-a")", R"("a..b")", R"("a_b")", "\"" + std::string(64, 'a') + "\""}),
      "ok");
  EXPECT_EQ(check("ipv4", {R"("0.0.0.0")", R"("255.1.20.199")"},
                  {R"("256.0.0.1")", R"("1.2.3")", R"("01.2.3.4")", R"("1.2.3.4.5")"}),
            "ok");
  EXPECT_EQ(check("ipv6",
                  {R"("::")", R"("::1")", R"("1::")", R"("1:2:3:4:5:6:7:8")", R"("1::8")",
                   R"("1:2:3:4:5:6::8")", R"("1:2:3:4:5:6:7::")", R"("::ffff:192.168.0.1")",
                   R"("1::1.2.3.4")", R"("::2:3:4:5:6:7:8")"},
                  {R"("1:2:3:4:5:6:7")", R"("1:2:3:4:5:6:7:8:9")", R"("1::2::3")", R"(":1")",
                   R"("12345::")", R"("1:2:3:4:5:6:7:1.2.3.4")", R"("1:2:3:4:5:6:7:8::")",
                   R"("1::1.2.3")"}),
            "ok");
  EXPECT_EQ(
      check("uuid", {R"("2EB8AA08-AA98-11EA-b4aa-73b441d16380")"},
            {R"("2eb8aa08-aa98-11ea-b4aa-73b441d1638")", R"("2eb8aa08aa9811eab4aa73b441d16380")"}),
      "ok");
}

}  // namespace
}  // namespace tetrad::grammar
