// Against what Hugging Face's tokenizers and transformers compute.

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer.h"

namespace tetrad {
namespace {

const std::filesystem::path kRoot = TETRAD_SOURCE_DIR;

json::value golden(const std::string& name) {
  const auto text = read_text_file(kRoot / "tests/golden" / name);
  EXPECT_TRUE(text.has_value()) << text.error().message;
  auto value = parse_json(*text);
  EXPECT_TRUE(value.has_value()) << value.error().message;
  return std::move(*value);
}

Tokenizer demo_tokenizer() {
  auto tokenizer = Tokenizer::from_file(kRoot / "models/tetrad-demo-mxfp4_16/tokenizer.json");
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return std::move(*tokenizer);
}

std::vector<TokenId> ids_of(const json::value& item) {
  return json::value_to<std::vector<TokenId>>(item.at("ids"));
}

std::string text_of(const json::value& item, std::string_view key) {
  return json::value_to<std::string>(item.at(key));
}

void expect_decodes(const Tokenizer& tokenizer, const json::value& item) {
  const std::vector<TokenId> ids = ids_of(item);
  for (const bool skip : {false, true}) {
    const std::string expected = text_of(item, skip ? "decoded_skip_special" : "decoded");
    EXPECT_EQ(tokenizer.decode(ids, skip), expected);
    StreamingDecoder stream(tokenizer, skip);
    std::string streamed;
    for (const TokenId id : ids)
      streamed += stream.push(id);
    EXPECT_EQ(streamed + stream.finish(), expected);
  }
}

void expect_agrees(const Tokenizer& tokenizer, const json::value& item) {
  const std::string text = text_of(item, "text");
  SCOPED_TRACE(text);
  const auto ids = tokenizer.encode(text);
  ASSERT_TRUE(ids.has_value()) << ids.error().message;
  EXPECT_EQ(*ids, ids_of(item));
  expect_decodes(tokenizer, item);
}

TEST(TokenizerGolden, DemoModelBothWays) {
  const Tokenizer tokenizer = demo_tokenizer();
  const json::value goldens = golden("tokenizer.json");
  ASSERT_EQ(goldens.get_array().size(), 200U);
  for (const json::value& item : goldens.get_array())
    expect_agrees(tokenizer, item);
}

TEST(TokenizerGolden, TokensInTheByteAlphabet) {
  const Tokenizer tokenizer = demo_tokenizer();
  const json::value goldens = golden("tokenizer_pieces.json");
  ASSERT_EQ(goldens.get_array().size(), 3U);
  for (const json::value& item : goldens.get_array()) {
    std::vector<std::string> pieces;
    for (const TokenId id : ids_of(item)) {
      pieces.emplace_back();
      for (const char byte : tokenizer.token_bytes(id)) {
        pieces.back() += alphabet_character(static_cast<uint8_t>(byte));
      }
    }
    EXPECT_EQ(pieces, json::value_to<std::vector<std::string>>(item.at("pieces")));
  }
}

TEST(TokenizerGolden, IdsWhoseBytesAreNotUtf8) {
  const Tokenizer tokenizer = demo_tokenizer();
  const json::value goldens = golden("tokenizer_decode.json");
  ASSERT_EQ(goldens.get_array().size(), 300U);
  for (const json::value& item : goldens.get_array()) {
    SCOPED_TRACE(to_json_text(item.at("ids")));
    expect_decodes(tokenizer, item);
  }
}

TEST(TokenizerGolden, OtherFilesOfTheKind) {
  const json::value variants = golden("tokenizer_variants.json");
  ASSERT_EQ(variants.get_array().size(), 4U);
  for (const json::value& variant : variants.get_array()) {
    SCOPED_TRACE(text_of(variant, "name"));
    const auto tokenizer = Tokenizer::from_json(variant.at("tokenizer"));
    ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
    const json::array& cases = variant.at("cases").get_array();
    ASSERT_EQ(cases.size(), 120U);
    for (const json::value& item : cases)
      expect_agrees(*tokenizer, item);
  }
}

}  // namespace
}  // namespace tetrad
