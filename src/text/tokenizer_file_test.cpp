#include "text/tokenizer_file.h"

#include <gtest/gtest.h>

#include <functional>
#include <sstream>
#include <string>

#include "text/byte_alphabet.h"

namespace tetrad {
namespace {

/// The smallest file that is accepted, with two merges and an added token.
json::value small_file() {
  json::object vocab;
  for (int byte = 0; byte < 256; ++byte)
    vocab[alphabet_character(byte)] = byte;
  vocab["ab"] = 256;
  vocab["abc"] = 257;
  return {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", {{{"id", 300}, {"content", "<s>"}, {"special", true}}}},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
      {"post_processor", {{"type", "ByteLevel"}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model",
       {{"type", "BPE"},
        {"vocab", vocab},
        {"merges", json::array{json::array{"a", "b"}, json::array{"ab", "c"}}}}}};
}

json::object& model(json::value& file) {
  return file.at("model").as_object();
}

json::object& vocab(json::value& file) {
  return model(file).at("vocab").as_object();
}

TEST(TokenizerFile, IsReadWhole) {
  const auto file = read_tokenizer_file(small_file());
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_EQ(file->vocabulary.end(), 301);
  EXPECT_EQ(file->vocabulary.bytes(257), "abc");
  EXPECT_EQ(file->vocabulary.bytes(300), "<s>");
  EXPECT_FALSE(file->vocabulary.contains(299));
  EXPECT_EQ(file->byte_tokens['\n'], '\n');
  ASSERT_EQ(file->merges.size(), 2U);
  EXPECT_EQ(file->merges[1].left, 256);
  EXPECT_EQ(file->merges[1].right, 'c');
  EXPECT_EQ(file->merges[1].result, 257);
  ASSERT_EQ(file->added_tokens.size(), 1U);
  EXPECT_TRUE(file->added_tokens[0].special);
}

TEST(TokenizerFile, BothFormsOfMergesAreTheSame) {
  json::value text = small_file();
  model(text)["merges"] = json::array{"#version: 0.2", "a b", "ab c"};
  const auto from_text = read_tokenizer_file(text);
  const auto from_pairs = read_tokenizer_file(small_file());
  ASSERT_TRUE(from_text.has_value()) << from_text.error().message;
  ASSERT_TRUE(from_pairs.has_value());
  ASSERT_EQ(from_text->merges.size(), from_pairs->merges.size());
  for (size_t i = 0; i < from_text->merges.size(); ++i) {
    EXPECT_EQ(from_text->merges[i].left, from_pairs->merges[i].left);
    EXPECT_EQ(from_text->merges[i].right, from_pairs->merges[i].right);
    EXPECT_EQ(from_text->merges[i].result, from_pairs->merges[i].result);
  }
}

TEST(TokenizerFile, WhatDoesNotMatterMayBeMissing) {
  json::value file = small_file();
  for (const char* key :
       {"version", "truncation", "padding", "added_tokens", "normalizer", "post_processor"}) {
    file.as_object().erase(key);
  }
  model(file).erase("type");
  EXPECT_TRUE(read_tokenizer_file(file).has_value());
}

struct Refusal {
  const char* name;
  std::function<void(json::value&)> break_it;
  const char* message;  // part of it
};

void PrintTo(const Refusal& refusal, std::ostream* out) {
  *out << refusal.name;
}

class TokenizerFileRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(TokenizerFileRefusal, NamesTheField) {
  json::value file = small_file();
  GetParam().break_it(file);
  const auto result = read_tokenizer_file(file);
  ASSERT_FALSE(result.has_value());
  EXPECT_TRUE(result.error().code == ErrorCode::corrupt_data ||
              result.error().code == ErrorCode::unsupported);
  EXPECT_NE(result.error().message.find(GetParam().message), std::string::npos)
      << result.error().message;
}

/// Sets the member at a path like "model/merges/0".
std::function<void(json::value&)> set(const std::string& path, const json::value& new_value) {
  return [path, new_value](json::value& file) {
    json::value* at = &file;
    std::istringstream steps(path);
    for (std::string step; std::getline(steps, step, '/');) {
      at = at->is_array() ? &at->as_array().at(std::stoul(step)) : &at->as_object()[step];
    }
    *at = new_value;
  };
}

json::value split_of(json::value pattern, const char* behavior = "Isolated", bool invert = false) {
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}},
            {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
}

INSTANTIATE_TEST_SUITE_P(
    Everything, TokenizerFileRefusal,
    testing::Values(
        Refusal{"File", [](json::value& f) { f = 3; }, "must be an object, not an integer"},
        Refusal{"Version", set("version", "2.0"), "version \"2.0\" is not supported"},
        Refusal{"Truncation", set("truncation", json::object{}), "truncation is not supported"},
        Refusal{"Padding", set("padding", json::object{}), "padding is not supported"},
        Refusal{"Normalizer", set("normalizer", {{"type", "NFC"}}), "normalizer"},
        Refusal{"PostProcessor", set("post_processor", {{"type", "TemplateProcessing"}}),
                "post_processor.type \"TemplateProcessing\""},
        Refusal{"Decoder", set("decoder", {{"type", "Metaspace"}}), "decoder.type \"Metaspace\""},
        Refusal{"NoDecoder", set("decoder", nullptr), "decoder is missing"},
        Refusal{"NoModel", [](json::value& f) { f.as_object().erase("model"); },
                "model is missing"},
        Refusal{"ModelType", set("model/type", "Unigram"), "model.type \"Unigram\""},
        Refusal{"Dropout", set("model/dropout", 0.1), "model.dropout"},
        Refusal{"Prefix", set("model/continuing_subword_prefix", "##"),
                "model.continuing_subword_prefix \"##\""},
        Refusal{"Suffix", set("model/end_of_word_suffix", "</w>"), "model.end_of_word_suffix"},
        Refusal{"ByteFallback", set("model/byte_fallback", true), "model.byte_fallback"},
        Refusal{"IgnoreMerges", set("model/ignore_merges", 1),
                "model.ignore_merges must be true or false"},
        Refusal{"NoPreTokenizer", set("pre_tokenizer", nullptr),
                "pre_tokenizer must be an object, not null"},
        Refusal{"PreTokenizerType", set("pre_tokenizer/type", "Whitespace"),
                "pre_tokenizer.type \"Whitespace\""},
        Refusal{"PrefixSpace", set("pre_tokenizer/add_prefix_space", true),
                "pre_tokenizer.add_prefix_space"},
        Refusal{"Pattern", set("pre_tokenizer", split_of({{"Regex", "(a*)*b"}})),
                "pre_tokenizer.pretokenizers[0].pattern.Regex"},
        Refusal{"PatternString", set("pre_tokenizer", split_of({{"String", " "}})),
                "only a \"Regex\" is supported"},
        Refusal{"Behavior", set("pre_tokenizer", split_of({{"Regex", "a"}}, "Removed")),
                "behavior \"Removed\""},
        Refusal{"Invert", set("pre_tokenizer", split_of({{"Regex", "a"}}, "Isolated", true)),
                "invert true"},
        Refusal{
            "Digits",
            set("pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Digits"}}}}}),
            "pre_tokenizer.pretokenizers[0].type \"Digits\""},
        Refusal{"NoByteLevel",
                set("pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", json::array{}}}),
                "ends in a ByteLevel"},
        Refusal{"VocabKind", set("model/vocab", json::array{}), "model.vocab must be an object"},
        Refusal{"IdKind", [](json::value& f) { vocab(f)["ab"] = "x"; },
                "model.vocab[\"ab\"]: expected a token id, not a string"},
        Refusal{"IdFraction", [](json::value& f) { vocab(f)["ab"] = 1.0; },
                "model.vocab[\"ab\"]: expected a token id"},
        Refusal{"IdNegative", [](json::value& f) { vocab(f)["ab"] = -1; },
                "model.vocab[\"ab\"]: the token id -1 is outside"},
        Refusal{"IdHuge", [](json::value& f) { vocab(f)["ab"] = INT64_MAX; },
                "is outside 0 to 4194303"},
        Refusal{"IdBeyondInt64", [](json::value& f) { vocab(f)["ab"] = UINT64_MAX; },
                "model.vocab[\"ab\"]: expected a token id"},
        Refusal{"IdTwice", [](json::value& f) { vocab(f)["abc"] = 256; },
                "\"ab\" and \"abc\" have the same id 256"},
        Refusal{"ByteMissing", [](json::value& f) { vocab(f).erase("\u0120"); },
                "no token for the byte 0x20"},
        Refusal{"NoMerges", [](json::value& f) { model(f).erase("merges"); },
                "model.merges is missing"},
        Refusal{"MergeOneWord", set("model/merges/1", "abc"), "model.merges[1] must be"},
        Refusal{"MergeThreeWords", set("model/merges/1", "a b c"), "model.merges[1] must be"},
        Refusal{"MergeThreeSides", set("model/merges/0", json::array{"a", "b", "c"}),
                "model.merges[0]"},
        Refusal{"MergeNumber", set("model/merges/0", json::array{"a", 1}), "model.merges[0]"},
        Refusal{"MergeUnknownSide", set("model/merges/1", json::array{"ab", "xy"}),
                "model.merges[1] joins \"ab\" and \"xy\", but \"xy\" is not in model.vocab"},
        Refusal{"MergeUnknownResult", set("model/merges/0", json::array{"b", "a"}),
                "but \"ba\" is not in model.vocab"},
        Refusal{"AddedKind", set("added_tokens", json::object{}), "added_tokens must be an array"},
        Refusal{"AddedNoId", set("added_tokens/0", {{"content", "x"}}),
                "added_tokens[0].id is missing"},
        Refusal{"AddedId", set("added_tokens/0/id", 4194304), "added_tokens[0].id: the token id"},
        Refusal{"AddedEmpty", set("added_tokens/0/content", ""),
                "added_tokens[0].content is empty"},
        Refusal{"AddedFlag", set("added_tokens/0/lstrip", "no"),
                "added_tokens[0].lstrip must be true or false"},
        Refusal{"SingleWord", set("added_tokens/0/single_word", true),
                "added_tokens[0] (<s>): single_word"},
        Refusal{"AddedOverVocab", set("added_tokens/0/id", 256), "already the id of another token"},
        Refusal{"AddedOtherId", set("added_tokens/0/content", "abc"),
                "\"abc\" has the id 300, but 257 in model.vocab"},
        Refusal{"AddedTwice",
                set("added_tokens",
                    {{{"id", 300}, {"content", "x<"}}, {{"id", 301}, {"content", "x<"}}}),
                "added_tokens[1]: \"x<\" is there twice"}),
    [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace tetrad
