#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>

#include "base/json.h"
#include "grammar/automaton.h"
#include "grammar/code_point_set.h"
#include "text/utf8.h"

namespace tetrad::grammar {
namespace {

constexpr AutomatonLimits kEncodeLimits;
constexpr Encoding kEncodings[] = {Encoding::utf8, Encoding::json_string,
                                   Encoding::json_string_any_escapes};

Automaton pattern_texts(std::string_view pattern) {
  auto automaton = parse_regex(pattern, RegexMatch::whole, kEncodeLimits);
  EXPECT_TRUE(automaton) << automaton.error().message;
  return automaton ? *automaton : Automaton::none();
}

ByteDfa bytes_of(const Automaton& automaton, Encoding encoding) {
  auto dfa = encode(automaton, encoding, kEncodeLimits);
  EXPECT_TRUE(dfa) << dfa.error().message;
  return dfa ? *std::move(dfa) : ByteDfa({}, 1, {}, {});
}

/// The label that bytes are accepted with.
int32_t label_of(const ByteDfa& dfa, std::string_view bytes) {
  if (dfa.empty()) return ByteDfa::kNoLabel;
  ByteDfa::State state = ByteDfa::kStart;
  for (const char byte : bytes) {
    state = dfa.next(state, static_cast<uint8_t>(byte));
    if (state == ByteDfa::kDead) return ByteDfa::kNoLabel;
  }
  return dfa.label(state);
}

bool accepts(const ByteDfa& dfa, std::string_view bytes) {
  return label_of(dfa, bytes) != ByteDfa::kNoLabel;
}

std::string utf8_of(char32_t c) {
  std::string text;
  const auto byte = [&](char32_t value) { text += static_cast<char>(static_cast<uint8_t>(value)); };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xC0 | c >> 6);
    byte(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    byte(0xE0 | c >> 12);
    byte(0x80 | (c >> 6 & 0x3F));
    byte(0x80 | (c & 0x3F));
  } else {
    byte(0xF0 | c >> 18);
    byte(0x80 | (c >> 12 & 0x3F));
    byte(0x80 | (c >> 6 & 0x3F));
    byte(0x80 | (c & 0x3F));
  }
  return text;
}

/// A text that is accepted, found by going at random, towards the end after a while.
std::string random_walk(const ByteDfa& dfa, std::mt19937& random, int wander) {
  std::string bytes;
  ByteDfa::State state = ByteDfa::kStart;
  while (!dfa.accepts(state) || (dfa.goes_on(state) && wander > 0 && random() % 8 != 0)) {
    const bool towards_end = --wander < 0;
    std::vector<uint8_t> ways;
    for (int byte = 0; byte < 256; ++byte) {
      const ByteDfa::State next = dfa.next(state, static_cast<uint8_t>(byte));
      if (next == ByteDfa::kDead) continue;
      if (towards_end && dfa.min_bytes(next) >= dfa.min_bytes(state)) continue;
      ways.push_back(static_cast<uint8_t>(byte));
    }
    if (ways.empty()) {
      ADD_FAILURE() << "a state that is not live";
      return bytes;
    }
    const uint8_t byte = ways[random() % ways.size()];
    bytes += static_cast<char>(byte);
    state = dfa.next(state, byte);
  }
  return bytes;
}

std::string decoded(const std::string& bytes, Encoding encoding) {
  EXPECT_FALSE(find_invalid_utf8(bytes)) << bytes;
  if (encoding == Encoding::utf8) return bytes;
  const auto value = parse_json("\"" + bytes + "\"");
  EXPECT_TRUE(value && value->is_string()) << bytes;
  return value && value->is_string() ? std::string(value->get_string()) : "(none)";
}

const std::vector<Automaton>& varied_sets() {
  static const std::vector<Automaton> sets = {
      Automaton::any(),
      pattern_texts("[^a]{1,3}"),
      pattern_texts("\\p{L}+"),
      pattern_texts("[\\s\\S]"),
      pattern_texts("[\\x00-\\x1F\"\\\\/]*"),
      pattern_texts(
          "(?:[\\u{80}-\\u{900}]|[\\u{D000}-\\u{E100}]|[\\u{FFF0}-\\u{1000F}]|[\\u{3FFFF}-"
          "\\u{100001}])*"),
      pattern_texts("\\u{10FFFF}|é|\\n|[^\\u{800}-\\u{FFFF}]x"),
      Automaton::literal("say \"hi\"\\\n\t\u0001\u007F/é"),
  };
  return sets;
}

TEST(Encode, WhatIsAcceptedDecodesToATextOfTheSet) {
  std::mt19937 random(1);
  for (const Automaton& set : varied_sets()) {
    for (const Encoding encoding : kEncodings) {
      const ByteDfa dfa = bytes_of(set, encoding);
      ASSERT_FALSE(dfa.empty());
      for (int i = 0; i < 500; ++i) {
        const std::string bytes = random_walk(dfa, random, 12);
        EXPECT_TRUE(accepts(dfa, bytes));
        EXPECT_TRUE(set.contains(decoded(bytes, encoding))) << bytes;
      }
    }
  }
}

/// Every character as Boost.JSON writes it, which is the canonical form.
TEST(Encode, EveryCharacterOfASetAndNoOther) {
  for (const std::string_view pattern : {"\\p{L}", "[^\\p{L}\\u{E000}-\\u{10FFF0}]", "[\\s\\S]"}) {
    const Automaton set = pattern_texts(pattern);
    const ByteDfa utf8 = bytes_of(set, Encoding::utf8);
    const ByteDfa canonical = bytes_of(set, Encoding::json_string);
    const ByteDfa any = bytes_of(set, Encoding::json_string_any_escapes);
    for (char32_t c = 0; c <= kLastCodePoint; c += c < 0x20000 ? 1 : 257) {
      const bool surrogate = c >= kFirstSurrogate && c <= kLastSurrogate;
      const std::string text = utf8_of(c);
      const bool wanted = !surrogate && set.contains(text);
      ASSERT_EQ(accepts(utf8, text), wanted) << uint32_t{c};
      if (c < 0x10000) {
        const std::string lower = fmt::format("\\u{:04x}", uint32_t{c});
        ASSERT_EQ(accepts(any, lower), wanted) << lower;
        ASSERT_EQ(accepts(any, fmt::format("\\u{:04X}", uint32_t{c})), wanted) << lower;
        if (c >= 0x20) {
          ASSERT_FALSE(accepts(canonical, lower)) << lower;
        }
      }
      if (surrogate) continue;
      std::string written = to_json_text(json::value(text));
      written = written.substr(1, written.size() - 2);
      if (c == 0x7F) written = "\x7F";
      ASSERT_EQ(accepts(canonical, written), wanted) << written;
      ASSERT_EQ(accepts(any, written), wanted) << written;
    }
  }
}

TEST(Encode, CanonicalStringsEscapeNothingElse) {
  const ByteDfa canonical = bytes_of(Automaton::any(), Encoding::json_string);
  for (const std::string_view bytes :
       {"a/b", "\\\"", "\\\\", "\\n\\t\\r\\b\\f", "\\u0000\\u001f", "é\x7F"})
    EXPECT_TRUE(accepts(canonical, bytes)) << bytes;
  for (const std::string_view bytes :
       {"\\/", "\\u000a", "\\u001F", "\\u0041", "\\u00e9", "\"", "\n", "\\", "\\x", "\\u00", "\xC3",
        "\xED\xA0\x80", "\\ud83d\\ude00"}) {
    EXPECT_FALSE(accepts(canonical, bytes)) << bytes;
  }
  const ByteDfa any = bytes_of(Automaton::any(), Encoding::json_string_any_escapes);
  for (const std::string_view bytes :
       {"\\/", "/", "\\u000a", "\\n", "\\u001F", "\\u0041A", "\\uFfFf"})
    EXPECT_TRUE(accepts(any, bytes)) << bytes;
  for (const std::string_view bytes :
       {"\"", "\n", "\\", "\\x", "\\u00g0", "\\ud83d", "\\uDFFF", "\xFF"})
    EXPECT_FALSE(accepts(any, bytes)) << bytes;
}

TEST(Encode, SmallAndBounded) {
  EXPECT_TRUE(bytes_of(Automaton::none(), Encoding::utf8).empty());
  EXPECT_EQ(bytes_of(Automaton::any(), Encoding::utf8).num_states(), 8U);
  EXPECT_EQ(bytes_of(Automaton::literal("héllo"), Encoding::json_string).num_states(), 7U);
  const auto letters = encode(pattern_texts("\\p{L}{200}"), Encoding::utf8, kEncodeLimits);
  ASSERT_FALSE(letters);
  EXPECT_EQ(letters.error().code, ErrorCode::invalid_argument);
}

TEST(Classify, TellsTheSetsOfEachText) {
  const std::vector<Automaton> sets = {Automaton::literal("name"), pattern_texts("n.*"),
                                       Automaton::literal("age"), pattern_texts("[a-z]{3,4}"),
                                       Automaton::none()};
  const auto classifier = classify(sets, Encoding::json_string, "\"", kEncodeLimits);
  ASSERT_TRUE(classifier) << classifier.error().message;
  const auto members = [&](std::string_view text) {
    const int32_t label = label_of(classifier->dfa, std::string(text) + "\"");
    return label == ByteDfa::kNoLabel ? std::vector<int32_t>{-1}
                                      : classifier->members.at(static_cast<size_t>(label));
  };
  EXPECT_EQ(members("name"), (std::vector<int32_t>{0, 1, 3}));
  EXPECT_EQ(members("names"), (std::vector<int32_t>{1}));
  EXPECT_EQ(members("n\\\""), (std::vector<int32_t>{1}));
  EXPECT_EQ(members("age"), (std::vector<int32_t>{2, 3}));
  EXPECT_EQ(members("abcd"), (std::vector<int32_t>{3}));
  EXPECT_EQ(members("ag"), (std::vector<int32_t>{-1}));
  EXPECT_EQ(members(""), (std::vector<int32_t>{-1}));
  EXPECT_FALSE(accepts(classifier->dfa, "name"));
  EXPECT_EQ(members("nab"), (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(classifier->members.size(), 5U);
}

TEST(Classify, SuffixesOfNoAndOfSeveralBytes) {
  const std::vector<Automaton> sets = {Automaton::literal("a"), pattern_texts("a|b")};
  const auto plain = classify(sets, Encoding::utf8, "", kEncodeLimits);
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->members.at(static_cast<size_t>(label_of(plain->dfa, "a"))).size(), 2U);
  EXPECT_EQ(plain->members.at(static_cast<size_t>(label_of(plain->dfa, "b"))).size(), 1U);
  const auto longer = classify(sets, Encoding::utf8, "</k>", kEncodeLimits);
  ASSERT_TRUE(longer);
  EXPECT_TRUE(accepts(longer->dfa, "a</k>"));
  EXPECT_TRUE(accepts(longer->dfa, "b</k>"));
  EXPECT_FALSE(accepts(longer->dfa, "b</k"));
  EXPECT_FALSE(accepts(longer->dfa, "b"));
  const std::vector<Automaton> unclear = {Automaton::literal("a"), Automaton::literal("ab")};
  EXPECT_FALSE(classify(unclear, Encoding::utf8, "b", kEncodeLimits));
  const auto nothing = classify({}, Encoding::json_string, "\"", kEncodeLimits);
  ASSERT_TRUE(nothing);
  EXPECT_TRUE(nothing->dfa.empty());
  EXPECT_TRUE(nothing->members.empty());
}

TEST(Classify, FiveHundredPropertiesAndPatterns) {
  std::vector<std::string> names;
  for (int i = 0; i < 500; ++i)
    names.push_back(fmt::format("{}_property_{}", i % 2 == 0 ? "some" : "größe", i * 7919 % 1000));
  std::vector<Automaton> sets;
  for (const std::string& name : names)
    sets.push_back(Automaton::literal(name));
  sets.push_back(pattern_texts("x-.*"));
  sets.push_back(pattern_texts(".*_5\\d*"));
  sets.push_back(Automaton::any());
  const auto start = std::chrono::steady_clock::now();
  const auto classifier = classify(sets, Encoding::json_string_any_escapes, "\"", kEncodeLimits);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(classifier) << classifier.error().message;
  EXPECT_LT(time.count(), 30);  // 0.2 on an idle machine without sanitizers
  RecordProperty("seconds", std::to_string(time.count()));
  RecordProperty("states", std::to_string(classifier->dfa.num_states()));
  for (size_t i = 0; i < names.size(); ++i) {
    const int32_t label = label_of(classifier->dfa, names[i] + "\"");
    ASSERT_NE(label, ByteDfa::kNoLabel);
    const std::vector<int32_t>& members = classifier->members[static_cast<size_t>(label)];
    EXPECT_EQ(members.front(), static_cast<int32_t>(i));
    EXPECT_EQ(members.back(), 502);
    EXPECT_EQ(members.size(), sets[501].contains(names[i]) ? 3U : 2U);
  }
  const int32_t other = label_of(classifier->dfa, "other\"");
  EXPECT_EQ(classifier->members.at(static_cast<size_t>(other)), (std::vector<int32_t>{502}));
}

}  // namespace
}  // namespace tetrad::grammar
