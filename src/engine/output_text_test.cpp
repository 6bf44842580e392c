#include "engine/output_text.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <utility>

#include "engine/bundled_model.h"

namespace tetrad {
namespace {

/// Ids whose bytes are all among `bytes`: few enough that stop strings are hit often.
std::vector<TokenId> ids_made_of(std::string_view bytes) {
  const Tokenizer& tokenizer = bundled_tokenizer();
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < static_cast<TokenId>(tokenizer.vocab_size()); ++id) {
    const std::string_view token = tokenizer.token_bytes(id);
    if (!token.empty() && token.find_first_not_of(bytes) == std::string_view::npos)
      ids.push_back(id);
  }
  return ids;
}

struct Whole {
  std::string text;
  std::optional<std::string> stopped_by;
};

/// What must come out, said without streaming: cut at the end that comes first behind the bytes
/// that came too early to be cut.
Whole cut_at_stop(const std::string& decoded, const std::vector<std::string>& stops,
                  size_t num_exempt, bool include_stop) {
  for (size_t end = num_exempt + 1; end <= decoded.size(); ++end) {
    const std::string_view so_far = std::string_view(decoded).substr(0, end);
    const std::string* longest = nullptr;
    for (const std::string& stop : stops) {
      if (so_far.ends_with(stop) && (longest == nullptr || stop.size() > longest->size()))
        longest = &stop;
    }
    if (longest == nullptr) continue;
    return {decoded.substr(0, include_stop ? end : end - longest->size()), *longest};
  }
  return {decoded, std::nullopt};
}

/// The text that tokens make certain, and the tags in it: what may be held back is told from both.
struct CertainText {
  StreamingDecoder decoder;
  size_t size = 0;
  TextSpan last_tag = {};

  void push(TokenId id) {
    const std::string text = decoder.push(id);
    const std::string_view bytes = bundled_tokenizer().token_bytes(id);
    size += text.size();
    if (bundled_tokenizer().is_added(id) && !text.empty() && text.ends_with(bytes))
      last_tag = {size - bytes.size(), size};
  }

  /// Where the text that is held back may begin at the earliest: with a stop string that lacks its
  /// last byte, or with the tag in which that begins, for a tag is never cut.
  size_t earliest_held(size_t longest_stop) const {
    const size_t in_stop = size - std::min(size, longest_stop - 1);
    return last_tag.begin < in_stop && in_stop < last_tag.end ? last_tag.begin : in_stop;
  }
};

/// Streams `ids`, checking after every token that only text of `expected` is out and that no more
/// is held back than can be part of a stop string.
void expect_streams_to(const Whole& expected, const std::vector<TokenId>& ids,
                       const std::vector<std::string>& stops, bool skip_special_tokens,
                       int64_t num_exempt_tokens, bool include_stop) {
  size_t longest_stop = 1;
  for (const std::string& stop : stops)
    longest_stop = std::max(longest_stop, stop.size());
  OutputText output(bundled_tokenizer(), stops, skip_special_tokens, include_stop);
  CertainText certain{.decoder = {bundled_tokenizer(), skip_special_tokens}};
  std::string emitted;
  std::optional<std::string> stopped_by;
  for (const TokenId id : ids) {
    OutputText::Step step = output.push(id, --num_exempt_tokens < 0);
    certain.push(id);
    emitted += step.text;
    RC_ASSERT(expected.text.starts_with(emitted));
    stopped_by = std::move(step.stopped_by);
    if (stopped_by) break;
    RC_ASSERT(emitted.size() >= certain.earliest_held(longest_stop));
  }
  if (!stopped_by) {
    OutputText::Step rest = output.finish();
    emitted += rest.text;
    stopped_by = std::move(rest.stopped_by);
  }
  RC_ASSERT(emitted == expected.text);
  RC_ASSERT(stopped_by == expected.stopped_by);
}

/// Stop strings that occur in the text (any position, any length) and some that may not.
std::vector<std::string> some_stops(const std::string& decoded, const std::string& alphabet) {
  std::vector<std::string> stops = *rc::gen::resize(
      4, rc::gen::container<std::vector<std::string>>(
             rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::elementOf(alphabet)))));
  const auto num_found = decoded.empty() ? 0 : *rc::gen::inRange(0, 3);
  for (int i = 0; i < num_found; ++i) {
    const auto start = *rc::gen::inRange<size_t>(0, decoded.size());
    stops.push_back(decoded.substr(start, *rc::gen::inRange<size_t>(1, 9)));
  }
  return stops;
}

/// Bytes of the text that the first `count` tokens make certain.
size_t num_certain_bytes(const std::vector<TokenId>& ids, int64_t count, bool skip_special_tokens) {
  StreamingDecoder decoder(bundled_tokenizer(), skip_special_tokens);
  size_t num_bytes = 0;
  for (size_t i = 0; i < ids.size() && std::cmp_less(i, count); ++i)
    num_bytes += decoder.push(ids[i]).size();
  return num_bytes;
}

void check_random_stream(const std::vector<TokenId>& vocabulary, const std::string& alphabet) {
  const auto ids =
      *rc::gen::container<std::vector<TokenId>>(rc::gen::elementOf(vocabulary)).as("ids");
  const bool skip_special_tokens = *rc::gen::arbitrary<bool>();
  const std::string decoded = bundled_tokenizer().decode(ids, skip_special_tokens);
  const std::vector<std::string> stops = some_stops(decoded, alphabet);
  const int64_t num_exempt_tokens = *rc::gen::element(0, 0, 1, 2, 5, 1000);
  const bool include_stop = *rc::gen::arbitrary<bool>();
  const size_t num_exempt = num_certain_bytes(ids, num_exempt_tokens, skip_special_tokens);
  expect_streams_to(cut_at_stop(decoded, stops, num_exempt, include_stop), ids, stops,
                    skip_special_tokens, num_exempt_tokens, include_stop);
}

RC_GTEST_PROP(OutputText, CutsStreamsOfAFewLettersAsTheWholeText, ()) {
  static const std::vector<TokenId> vocabulary = ids_made_of("abn");
  RC_PRE(vocabulary.size() >= 3);
  check_random_stream(vocabulary, "abn");
}

RC_GTEST_PROP(OutputText, CutsStreamsOfMultibyteCharactersAsTheWholeText, ()) {
  // é is C3 A9, ’ is E2 80 99, 日 is E6 97 A5: byte tokens that often form characters, or do not.
  static const std::string bytes = "\xC3\xA9\xE2\x80\x99\xE6\x97\xA5";
  static const std::vector<TokenId> vocabulary = ids_made_of(bytes);
  RC_PRE(vocabulary.size() >= 8);
  check_random_stream(vocabulary, bytes);
}

RC_GTEST_PROP(OutputText, CutsStreamsOfAllTokensAsTheWholeText, ()) {
  static const std::vector<TokenId> vocabulary = [] {
    std::vector<TokenId> all(static_cast<size_t>(bundled_tokenizer().vocab_size()));
    for (size_t i = 0; i < all.size(); ++i)
      all[i] = static_cast<TokenId>(i);
    return all;
  }();
  check_random_stream(vocabulary, " e\n");
}

TEST(OutputText, FindsAStopAtEveryPosition) {
  const std::string text = "The café’s 日本語 menu costs 12 € — naïve, isn’t it?";
  const auto ids = bundled_tokenizer().encode(text, SpecialTokens::ignore);
  ASSERT_TRUE(ids) << ids.error().message;
  ASSERT_EQ(bundled_tokenizer().decode(*ids, true), text);
  for (size_t start = 0; start < text.size(); ++start) {
    for (size_t length = 1; start + length <= text.size(); ++length) {
      const std::string stop = text.substr(start, length);
      OutputText output(bundled_tokenizer(), {stop}, true);
      std::string emitted;
      std::optional<std::string> stopped_by;
      for (size_t i = 0; i < ids->size() && !stopped_by; ++i) {
        OutputText::Step step = output.push((*ids)[i]);
        emitted += step.text;
        stopped_by = step.stopped_by;
      }
      ASSERT_EQ(stopped_by, stop);
      ASSERT_EQ(emitted, text.substr(0, text.find(stop)));
    }
  }
}

TEST(OutputText, TheStopCompleteFirstCountsHoweverTheTextIsCut) {
  // "bc" is complete before "abcd", in one token or in four.
  const std::vector<std::string> stops{"abcd", "bc"};
  for (const std::string text : {"xabcd", "abcd"}) {
    const auto ids = bundled_tokenizer().encode(text, SpecialTokens::ignore);
    ASSERT_TRUE(ids);
    std::vector<TokenId> letters;
    for (const char letter : text)
      letters.push_back(bundled_tokenizer().encode(std::string(1, letter)).value().at(0));
    for (const auto& stream : {*ids, letters}) {
      OutputText output(bundled_tokenizer(), stops, true);
      std::string emitted;
      for (const TokenId id : stream) {
        const OutputText::Step step = output.push(id);
        emitted += step.text;
        if (!step.stopped_by) continue;
        EXPECT_EQ(step.stopped_by, "bc");
        break;
      }
      EXPECT_EQ(emitted, text.substr(0, text.find("bc")));
    }
  }
}

/// The text, with a bar where it was stopped.
std::string streamed(const std::string& stop, const std::vector<TokenId>& ids,
                     size_t num_exempt_tokens, bool include_stop = false) {
  OutputText output(bundled_tokenizer(), {stop}, true, include_stop);
  std::string emitted;
  for (size_t i = 0; i < ids.size(); ++i) {
    const OutputText::Step step = output.push(ids[i], i >= num_exempt_tokens);
    emitted += step.text;
    if (step.stopped_by) return emitted + "|";
  }
  return emitted + output.finish().text;
}

TEST(OutputText, AStopCountsWhereTheTextMayStop) {
  std::vector<TokenId> letters;
  for (const char letter : std::string("aaabcabc"))
    letters.push_back(bundled_tokenizer().encode(std::string(1, letter)).value().at(0));
  EXPECT_EQ(streamed("abc", letters, 0), "aa|");
  EXPECT_EQ(streamed("abc", letters, 4), "aa|");  // complete with the fifth
  EXPECT_EQ(streamed("abc", letters, 5), "aaabc|");
  EXPECT_EQ(streamed("abc", letters, 8), "aaabcabc");
  EXPECT_EQ(streamed("aa", letters, 2), "a|");  // the second and the third
  EXPECT_EQ(streamed("abc", letters, 5, /*include_stop=*/true), "aaabcabc|");
}

/// All text and tags of an output, put together.
OutputText::Step all_of(OutputText& output, const std::vector<TokenId>& ids) {
  OutputText::Step all;
  const auto add = [&all](OutputText::Step step) {
    for (const TextSpan& tag : step.tags)
      all.tags.push_back({all.text.size() + tag.begin, all.text.size() + tag.end});
    all.text += step.text;
    if (step.stopped_by) all.stopped_by = std::move(step.stopped_by);
    return all.stopped_by.has_value();
  };
  for (const TokenId id : ids) {
    if (add(output.push(id))) return all;
  }
  add(output.finish());
  return all;
}

TEST(OutputText, TellsTagsFromTheirSpelling) {
  const Tokenizer& tokenizer = bundled_tokenizer();
  std::vector<TokenId> ids = tokenizer.encode("a</think>b", SpecialTokens::ignore).value();
  const std::vector<TokenId> with_tag = tokenizer.encode("c</think>d").value();
  ids.insert(ids.end(), with_tag.begin(), with_tag.end());
  // Stop strings that never come, but could begin anywhere in the tag.
  for (const std::vector<std::string>& stops :
       {std::vector<std::string>{}, {"k>x"}, {">dx"}, {"</thinkx", "inky"}}) {
    OutputText output(tokenizer, stops, /*skip_special_tokens=*/true);
    const OutputText::Step all = all_of(output, ids);
    EXPECT_EQ(all.text, "a</think>bc</think>d");
    EXPECT_EQ(all.tags, (std::vector<TextSpan>{{11, 19}}));
  }
}

TEST(OutputText, ATagThatIsCutOffIsText) {
  const Tokenizer& tokenizer = bundled_tokenizer();
  const std::vector<TokenId> ids = tokenizer.encode("c</think>d").value();
  OutputText output(tokenizer, {"nk>"}, /*skip_special_tokens=*/true);
  const OutputText::Step all = all_of(output, ids);
  EXPECT_EQ(all.text, "c</thi");
  EXPECT_TRUE(all.tags.empty());
  EXPECT_EQ(all.stopped_by, "nk>");
}

}  // namespace
}  // namespace tetrad
