#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "grammar/automaton.h"
#include "grammar/code_point_dfa.h"
#include "grammar/regex_ast.h"

namespace tetrad::grammar {
namespace {

using testing::HasSubstr;

json::value read_cases(const std::string& name) {
  std::ifstream file(std::string(TETRAD_SOURCE_DIR) + "/tests/grammar/" + name);
  std::stringstream text;
  text << file.rdbuf();
  auto value = parse_json(text.str());
  EXPECT_TRUE(value) << name << ": " << value.error().message;
  return value ? std::move(*value) : json::value();
}

Automaton automaton_for(std::string_view pattern, RegexMatch match = RegexMatch::whole) {
  auto automaton = parse_regex(pattern, match, {});
  EXPECT_TRUE(automaton) << pattern << ": " << automaton.error().message;
  return automaton ? *automaton : Automaton::none();
}

std::string complaint_about(std::string_view pattern, AutomatonLimits limits = {}) {
  const auto automaton = parse_regex(pattern, RegexMatch::search, limits);
  if (automaton) return "(accepted)";
  EXPECT_EQ(automaton.error().code, ErrorCode::invalid_argument);
  return automaton.error().message;
}

TEST(Regex, AgreesWithPython) {
  size_t checked = 0;
  const json::value cases = read_cases("regex_cases.json");
  for (const json::value& value : cases.as_array()) {
    const json::object& one = value.as_object();
    const std::string_view pattern = one.at("pattern").as_string();
    const json::array& texts = one.at("texts").as_array();
    for (const auto& [match, name] :
         {std::pair(RegexMatch::whole, "whole"), std::pair(RegexMatch::search, "search")}) {
      const auto automaton = parse_regex(pattern, match, {});
      ASSERT_TRUE(automaton) << pattern << ": " << automaton.error().message;
      const std::string_view truth = one.at(name).as_string();
      ASSERT_EQ(truth.size(), texts.size());
      for (size_t i = 0; i < texts.size(); ++i, ++checked) {
        EXPECT_EQ(automaton->contains(std::string_view(texts[i].as_string())), truth[i] == '1')
            << name << " " << pattern << " on " << texts[i];
      }
    }
  }
  EXPECT_GT(checked, 10'000U);
}

TEST(Regex, GeneralCategories) {
  const Automaton upper = automaton_for("\\p{Lu}");
  EXPECT_TRUE(upper.contains("A"));
  EXPECT_TRUE(upper.contains("É"));
  EXPECT_TRUE(upper.contains("Ж"));
  EXPECT_FALSE(upper.contains("a"));
  EXPECT_FALSE(upper.contains("1"));
  const Automaton letters = automaton_for("[\\p{Letter}\\p{gc=Nd}]+");
  EXPECT_TRUE(letters.contains("aß漢字ひ٣"));
  EXPECT_FALSE(letters.contains("a b"));
  const Automaton others = automaton_for("\\P{General_Category=Punctuation}");
  EXPECT_TRUE(others.contains("a"));
  EXPECT_FALSE(others.contains("!"));
  EXPECT_FALSE(others.contains("«"));
  EXPECT_TRUE(automaton_for("\\p{Any}").contains("\U0010FFFF"));
  EXPECT_TRUE(automaton_for("[^\\p{ASCII}]").contains("é"));
  EXPECT_TRUE(automaton_for("\\p{Cs}").empty());
  EXPECT_THAT(complaint_about("a\\p{Script=Greek}"), HasSubstr("offset 1"));
  EXPECT_THAT(complaint_about("\\p{Greek}"), HasSubstr("\"Greek\" is not known"));
}

TEST(Regex, RefusesWhatIsNotRegularOrAmbiguousByName) {
  EXPECT_THAT(complaint_about("a(?=b)"), HasSubstr("offset 1: look-ahead"));
  EXPECT_THAT(complaint_about("a(?!b)"), HasSubstr("look-ahead"));
  EXPECT_THAT(complaint_about("(?<=b)a"), HasSubstr("look-behind"));
  EXPECT_THAT(complaint_about("(?<!b)a"), HasSubstr("look-behind"));
  EXPECT_THAT(complaint_about("(a)\\1"), HasSubstr("offset 3: back references"));
  EXPECT_THAT(complaint_about("(?<n>a)\\k<n>"), HasSubstr("back references"));
  EXPECT_THAT(complaint_about("(?P<n>a)(?P=n)"), HasSubstr("back references"));
  EXPECT_THAT(complaint_about("a\\bc"), HasSubstr("word boundaries"));
  EXPECT_THAT(complaint_about("a++"), HasSubstr("possessive"));
  EXPECT_THAT(complaint_about("(?>a)"), HasSubstr("not supported"));
  EXPECT_THAT(complaint_about("(?i)a"), HasSubstr("not supported"));
  EXPECT_THAT(complaint_about("[]a]"), HasSubstr("[] and [^]"));
  EXPECT_THAT(complaint_about("[^]"), HasSubstr("[] and [^]"));
  EXPECT_THAT(complaint_about("[[:alpha:]]"), HasSubstr("[:alpha:]"));
  EXPECT_THAT(complaint_about("a{,3}"), HasSubstr("{0,n}"));
  EXPECT_THAT(complaint_about("\\uD83D"), HasSubstr("surrogate"));
}

TEST(Regex, RefusesWhatIsMalformed) {
  EXPECT_THAT(complaint_about("(a"), HasSubstr("offset 0: a group is not closed"));
  EXPECT_THAT(complaint_about("a)"), HasSubstr("offset 1"));
  EXPECT_THAT(complaint_about("[a"), HasSubstr("a class is not closed"));
  EXPECT_THAT(complaint_about("[a-"), HasSubstr("a class is not closed"));
  EXPECT_THAT(complaint_about("[b-a]"), HasSubstr("ends below"));
  EXPECT_THAT(complaint_about("[\\w-z]"), HasSubstr("from one character to another"));
  EXPECT_THAT(complaint_about("*a"), HasSubstr("nothing before it"));
  EXPECT_THAT(complaint_about("{2}"), HasSubstr("nothing before it"));
  EXPECT_THAT(complaint_about("a**"), HasSubstr("behind a quantifier"));
  EXPECT_THAT(complaint_about("^*"), HasSubstr("behind an anchor"));
  EXPECT_THAT(complaint_about("a{3,2}"), HasSubstr("below its minimum"));
  EXPECT_THAT(complaint_about("a{9999999999}"), HasSubstr("too large"));
  EXPECT_THAT(complaint_about("a\\"), HasSubstr("backslash"));
  EXPECT_THAT(complaint_about("\\y"), HasSubstr("not known"));
  EXPECT_THAT(complaint_about("\\x4"), HasSubstr("two hexadecimal digits"));
  EXPECT_THAT(complaint_about("\\u{110000}"), HasSubstr("one code point"));
  EXPECT_THAT(complaint_about("\\012"), HasSubstr("octal"));
  EXPECT_THAT(complaint_about("\\p{L"), HasSubstr("between braces"));
  EXPECT_THAT(complaint_about("(?<1a>b)"), HasSubstr("group's name"));
  EXPECT_THAT(complaint_about("(?<a>b)(?<a>c)"), HasSubstr("second group"));
  EXPECT_THAT(complaint_about("a\xFF"), HasSubstr("offset 1: this is not valid UTF-8"));
}

TEST(Regex, PythonsAnchorsAndGroups) {
  EXPECT_TRUE(automaton_for("\\A(?P<name>a)\\Z", RegexMatch::search).contains("a"));
  EXPECT_FALSE(automaton_for("\\Aa\\Z", RegexMatch::search).contains("ab"));
}

TEST(Regex, SmallestAutomata) {
  EXPECT_EQ(automaton_for("(a|b)*a(a|b)").impl().dfa.num_states(), 4U);
  EXPECT_EQ(automaton_for("", RegexMatch::search).impl().dfa.num_states(), 1U);
  EXPECT_EQ(automaton_for("(?:ab|cb|db)*").impl().dfa.num_states(), 2U);
  EXPECT_EQ(automaton_for("a{1000}").impl().dfa.num_states(), 1001U);
  EXPECT_TRUE(automaton_for("a^b").empty());
}

/// Whatever is asked, the answer comes soon.
class RegexLimits : public testing::TestWithParam<std::pair<std::string, const char*>> {};

TEST_P(RegexLimits, EndSoon) {
  const auto& [pattern, complaint] = GetParam();
  for (const RegexMatch match : {RegexMatch::whole, RegexMatch::search}) {
    const std::clock_t start = std::clock();  // of the processor: others may be at work
    const auto automaton = parse_regex(pattern, match, {});
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    EXPECT_LT(seconds, 30) << pattern.substr(0, 40);  // one second on an idle machine
    RecordProperty("seconds", std::to_string(seconds));
    if (automaton) continue;
    EXPECT_EQ(automaton.error().code, ErrorCode::invalid_argument);
    EXPECT_THAT(automaton.error().message, HasSubstr(complaint)) << pattern.substr(0, 40);
  }
  if (*complaint != '\0') {
    EXPECT_FALSE(parse_regex(pattern, RegexMatch::whole, {})) << pattern.substr(0, 40);
  }
}

std::string repeated(std::string_view text, size_t count) {
  std::string result;
  for (size_t i = 0; i < count; ++i)
    result += text;
  return result;
}

std::string many_classes() {
  std::string pattern;
  for (int i = 0; i < 6000; ++i)
    pattern += fmt::format("[^\\u{:04X}]", 0x4E00 + i);
  return pattern.substr(0, kMaxPatternBytes / 10 * 10);
}

std::string many_characters() {
  std::string pattern = "(?:.*(?:";
  for (int i = 0; i < 6000; ++i)
    pattern += fmt::format("\\u{:04X}|", 0x4E00 + i);
  return pattern + "a)){3}";
}

INSTANTIATE_TEST_SUITE_P(
    All, RegexLimits,
    testing::Values(std::pair(repeated("(", 60'000), "nested"),
                    std::pair(repeated("(", 60'000) + repeated(")", 100), ""),
                    std::pair(repeated("(?:", 199) + "a" + repeated(")", 199), ""),
                    std::pair(repeated("(?:(?:a?", 99) + "a" + repeated("){2})*", 99), ""),
                    std::pair("a{1,100000}", "more than 20000 states"),
                    std::pair("(?:){999999999}", "more than 20000 states"),
                    std::pair("(?:(?:a{1000}){1000}){1000}", "more than 20000 states"),
                    std::pair("(?:(?:(?:a*)*){1000}){1000}", "more than 20000 states"),
                    std::pair("(?:a|b)*a(?:a|b){40}", "more than 20000 states"),
                    std::pair("(?:a{1,200}){1,200}", ""), std::pair("a{19000}", ""),
                    std::pair("(?:a?){3000}b", ""), std::pair(".{0,19999}", ""),
                    std::pair("\\p{L}{1,1500}", ""), std::pair("(?:\\p{L}|\\p{N}+,){300}", ""),
                    std::pair(many_classes(), ""), std::pair(many_characters(), ""),
                    std::pair(repeated("a|", 30'000), ""), std::pair(repeated("a?", 30'000), ""),
                    std::pair("(?:" + repeated("a|b*|", 10'000) + "c)*", ""),
                    std::pair(repeated("[a-z]*", 8'000), ""),
                    std::pair(repeated("\\p{L}", 10'000), ""),
                    std::pair(repeated("x", kMaxPatternBytes + 1), "65537 bytes")));

}  // namespace
}  // namespace tetrad::grammar
