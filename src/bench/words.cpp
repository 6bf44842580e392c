#include "bench/words.h"

#include <fmt/format.h>

#include <iterator>

namespace tetrad::bench {
namespace {

// Short and common, so that most are one token of most vocabularies.
constexpr std::string_view kWords[] = {
    "a",     "about", "after",  "all",   "and",   "are",   "as",    "at",    "back",  "be",
    "been",  "but",   "by",     "call",  "can",   "case",  "check", "come",  "count", "data",
    "day",   "do",    "down",   "each",  "end",   "error", "file",  "find",  "first", "for",
    "from",  "get",   "give",   "go",    "good",  "great", "hand",  "have",  "help",  "here",
    "house", "how",   "if",     "in",    "into",  "is",    "it",    "just",  "keep",  "key",
    "know",  "last",  "left",   "line",  "list",  "long",  "look",  "made",  "make",  "man",
    "many",  "may",   "more",   "most",  "name",  "need",  "new",   "next",  "no",    "not",
    "now",   "of",    "old",    "on",    "one",   "or",    "other", "our",   "out",   "over",
    "part",  "path",  "people", "place", "point", "read",  "right", "run",   "same",  "say",
    "see",   "set",   "should", "show",  "small", "so",    "some",  "state", "still", "take",
    "test",  "than",  "that",   "the",   "then",  "there", "these", "they",  "thing", "this",
    "time",  "to",    "try",    "two",   "under", "up",    "use",   "value", "very",  "was",
    "water", "way",   "we",     "well",  "what",  "when",  "which", "who",   "will",  "with",
    "word",  "work",  "world",  "would", "write", "year",  "you",   "your",
};
constexpr int64_t kNumWords = std::ssize(kWords);
constexpr int64_t kWordsPerLine = 5;

}  // namespace

std::string_view random_word(Random& random) {
  return kWords[random.between(0, kNumWords - 1)];
}

std::string random_words(Random& random, int64_t count) {
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    if (i > 0) text += ' ';
    text += random_word(random);
  }
  return text;
}

std::string random_code(Random& random, int64_t count) {
  std::string text;
  int64_t number = random.between(1, 400);
  for (; count > 0; count -= kWordsPerLine) {
    fmt::format_to(std::back_inserter(text), "{:4}  {}_{}({}, {}.{});\n", number++,
                   random_word(random), random_word(random), random_word(random),
                   random_word(random), random_word(random));
  }
  return text;
}

}  // namespace tetrad::bench
