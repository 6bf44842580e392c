#include "checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "checkpoint/tiny_checkpoint_for_tests.h"

namespace tetrad {
namespace {

using testing::HasSubstr;

/// A file image: length, header, then `data_size` bytes counting up from 0.
std::string file_of(std::string_view header, size_t data_size) {
  const uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  file += header;
  for (size_t i = 0; i < data_size; ++i)
    file.push_back(static_cast<char>(i));
  return file;
}

Result<TensorMap> parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)));
}

constexpr std::string_view kGoodHeader =
    R"({"__metadata__":{"format":"pt"},)"
    R"("b":{"dtype":"F32","shape":[2,1],"data_offsets":[6,14]},)"
    R"("a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},)"
    R"("none":{"dtype":"U8","shape":[0,5],"data_offsets":[6,6]},)"
    R"("scalar":{"dtype":"F8_E4M3","shape":[],"data_offsets":[14,15]}}   )";

TEST(ParseSafetensors, FindsEveryTensorWhereItLies) {
  const std::string file = file_of(kGoodHeader, 15);
  const auto tensors = parse(file);
  ASSERT_TRUE(tensors) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 4u);
  EXPECT_EQ(tensors->at("a").dtype, DType::bf16);
  EXPECT_EQ(tensors->at("a").shape, std::vector<int64_t>{3});
  EXPECT_EQ(tensors->at("a").bytes.size(), 6u);
  EXPECT_EQ(tensors->at("a").bytes[0], std::byte{0});
  EXPECT_EQ(tensors->at("b").shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(tensors->at("b").bytes.size(), 8u);
  EXPECT_EQ(tensors->at("b").bytes[0], std::byte{6});
  EXPECT_EQ(tensors->at("none").bytes.size(), 0u);
  EXPECT_TRUE(tensors->at("scalar").shape.empty());
  EXPECT_EQ(tensors->at("scalar").bytes[0], std::byte{14});
}

TEST(ParseSafetensors, AnEmptyFileOfTensorsIsOne) {
  const auto tensors = parse(file_of("{}", 0));
  ASSERT_TRUE(tensors);
  EXPECT_TRUE(tensors->empty());
}

TEST(ParseSafetensors, RefusesEveryTruncationAndAnyExtraByte) {
  const std::string file = file_of(kGoodHeader, 15);
  for (size_t length = 0; length < file.size(); ++length) {
    const std::string shorter = file.substr(0, length);
    EXPECT_FALSE(parse(shorter)) << length;
  }
  const auto longer = parse(file + "x");
  ASSERT_FALSE(longer);
  EXPECT_THAT(longer.error().message, HasSubstr("1 bytes of no tensor follow"));
  EXPECT_THAT(longer.error().message, HasSubstr(std::to_string(file.size())));
}

TEST(ParseSafetensors, SaysWhichTensorIsTruncatedAndWhere) {
  const std::string file = file_of(kGoodHeader, 13);
  const auto tensors = parse(file);
  ASSERT_FALSE(tensors);
  EXPECT_EQ(tensors.error().code, ErrorCode::corrupt_data);
  EXPECT_THAT(tensors.error().message, HasSubstr("\"b\""));
  EXPECT_THAT(tensors.error().message, HasSubstr("truncated"));
  EXPECT_THAT(tensors.error().message, HasSubstr("ends at 14"));
  EXPECT_THAT(tensors.error().message, HasSubstr(std::to_string(file.size() - 13)));
}

TEST(ParseSafetensors, ChecksTheHeaderLengthBeforeUsingIt) {
  struct Case {
    uint64_t length;
    const char* said;
  };
  for (const Case& wrong : {Case{0, "does not begin"}, Case{1, "JSON"}, Case{30, "ends behind"},
                            Case{100'000'000, "ends behind"}, Case{100'000'001, "more than"},
                            Case{UINT64_MAX, "more than"}, Case{UINT64_MAX - 7, "more than"}}) {
    std::string file = file_of(R"({"a":1})", 2);
    std::memcpy(file.data(), &wrong.length, sizeof wrong.length);
    const auto tensors = parse(file);
    ASSERT_FALSE(tensors) << wrong.length;
    EXPECT_THAT(tensors.error().message, HasSubstr(wrong.said)) << wrong.length;
  }
}

struct BadHeader {
  const char* header;
  size_t data_size;
  std::vector<const char*> said;
};

void PrintTo(const BadHeader& bad, std::ostream* out) {
  *out << bad.header;
}

class ParseSafetensorsBad : public testing::TestWithParam<BadHeader> {};

TEST_P(ParseSafetensorsBad, IsRefusedWithTheReason) {
  const BadHeader& bad = GetParam();
  const auto tensors = parse(file_of(bad.header, bad.data_size));
  ASSERT_FALSE(tensors) << bad.header;
  for (const char* text : bad.said)
    EXPECT_THAT(tensors.error().message, HasSubstr(text)) << bad.header;
}

INSTANTIATE_TEST_SUITE_P(
    Layout, ParseSafetensorsBad,
    testing::Values(
        // Overlap, in part and in whole.
        BadHeader{R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                  R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                  6,
                  {"\"b\"", "overlaps \"a\"", "offset 115"}},
        BadHeader{R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                  R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                  4,
                  {"overlaps"}},
        // A gap before the first, between two, behind the last.
        BadHeader{R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                  6,
                  {"\"a\"", "2 bytes of no tensor", "offset 61"}},
        BadHeader{R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                  R"("b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}})",
                  4,
                  {"\"b\"", "2 bytes of no tensor"}},
        BadHeader{R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                  3,
                  {"2 bytes of no tensor follow"}},
        BadHeader{R"({})", 1, {"1 bytes of no tensor follow"}},
        // Shapes that do not match the bytes.
        BadHeader{R"({"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,12]}})",
                  12,
                  {"\"w\"", "F32 [2, 2]", "16 bytes", "12"}},
        BadHeader{R"({"w":{"dtype":"F32","shape":[0],"data_offsets":[0,4]}})", 4, {"0 bytes"}},
        BadHeader{R"({"w":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
                  0,
                  {"more than 2^64"}},
        BadHeader{R"({"w":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})",
                  0,
                  {"more than 2^64"}},
        BadHeader{R"({"w":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,4]}})",
                  4,
                  {"9223372036854775807 bytes"}},
        // Offsets that are none.
        BadHeader{R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1, {"not before"}},
        BadHeader{R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1, {"data_offsets"}},
        BadHeader{
            R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", 1, {"data_offsets"}},
        BadHeader{R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551615]}})",
                  1,
                  {"18446744073709551615"}},
        BadHeader{R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,9223372036854775807]}})",
                  1,
                  {"truncated"}},
        BadHeader{R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}})", 1, {"-1"}}));

INSTANTIATE_TEST_SUITE_P(
    Entries, ParseSafetensorsBad,
    testing::Values(
        BadHeader{R"({"w":{"dtype":"F7","shape":[1],"data_offsets":[0,1]}})",
                  1,
                  {"\"w\"", "unknown dtype \"F7\""}},
        BadHeader{R"({"w":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", 1, {"\"dtype\""}},
        BadHeader{R"({"w":{"shape":[1],"data_offsets":[0,1]}})", 1, {"\"w\"", "\"dtype\""}},
        BadHeader{R"({"w":{"dtype":"U8","data_offsets":[0,1]}})", 1, {"\"w\"", "\"shape\""}},
        BadHeader{R"({"w":{"dtype":"U8","shape":[1]}})", 1, {"\"w\"", "\"data_offsets\""}},
        BadHeader{R"({"w":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", 1, {"\"shape\""}},
        BadHeader{R"({"w":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1, {"-1"}},
        BadHeader{R"({"w":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1, {"\"shape\""}},
        BadHeader{R"({"w":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}})", 1, {"\"shape\""}},
        BadHeader{R"({"w":[]})", 0, {"\"w\"", "an array"}},
        BadHeader{R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                  R"("w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                  2,
                  {"\"w\"", "twice"}},
        BadHeader{R"({"__metadata__":{"format":1}})", 0, {"__metadata__", "format"}},
        BadHeader{R"({"__metadata__":"pt"})", 0, {"__metadata__"}},
        BadHeader{"{\"\xff\":{}}", 0, {"header", "byte"}}, BadHeader{R"({"a":)", 0, {"header"}},
        BadHeader{R"([])", 0, {"does not begin with '{'"}},
        BadHeader{R"( {})", 0, {"does not begin with '{'"}},
        BadHeader{R"({"a":[[[[[[[[[[[[1]]]]]]]]]]]]})", 0, {"header"}}));

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(WriteSafetensors, WritesTheseBytes) {
  const auto path = folder_of_this_test() += ".safetensors";
  const TensorToWrite tensors[] = {
      {"codes", DType::u8, {1, 3}, bytes_of("abc")},
      {"single", DType::f32, {1}, bytes_of("SING")},
      {"half", DType::f16, {2}, bytes_of("HALF")},
  };
  const auto written = write_safetensors(path, tensors);
  ASSERT_TRUE(written) << written.error().message;
  // Wide elements first, so that each lies on a multiple of its size; blanks up to 64 bytes.
  const std::string header = R"({"__metadata__":{"format":"pt"},)"
                             R"("single":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                             R"("half":{"dtype":"F16","shape":[2],"data_offsets":[4,8]},)"
                             R"("codes":{"dtype":"U8","shape":[1,3],"data_offsets":[8,11]}})";
  const std::string file = read_file(path);
  ASSERT_EQ(file.size() % 64, 11u);
  EXPECT_EQ(file.substr(8, header.size()), header);
  EXPECT_EQ(file.substr(8 + header.size()),
            std::string(file.size() - 19 - header.size(), ' ') + "SINGHALFabc");
  EXPECT_EQ(static_cast<unsigned char>(file[0]), file.size() - 8 - 11);
  EXPECT_EQ(file.substr(1, 7), std::string(7, '\0'));
  EXPECT_FALSE(std::filesystem::exists(path.string() + ".tmp"));

  const auto read = parse(file);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->size(), 3u);
  std::filesystem::remove(path);
}

TEST(WriteSafetensors, RefusesWhatCouldNotBeRead) {
  const auto path = folder_of_this_test() += ".safetensors";
  const TensorToWrite good{"a", DType::u8, {2}, bytes_of("ab")};
  const TensorToWrite too_short{"a", DType::f32, {2}, bytes_of("abcd")};
  const TensorToWrite overflow{"a", DType::f32, {1ll << 40, 1ll << 40}, {}};
  const TensorToWrite negative{"a", DType::f32, {-1}, {}};
  const TensorToWrite reserved{"__metadata__", DType::u8, {2}, bytes_of("ab")};
  const TensorToWrite nameless{"", DType::u8, {2}, bytes_of("ab")};
  for (const auto& tensor : {too_short, overflow, negative, reserved, nameless})
    EXPECT_FALSE(write_safetensors(path, std::span(&tensor, 1))) << tensor.name;
  const auto twice = write_safetensors(path, std::vector<TensorToWrite>{good, good});
  ASSERT_FALSE(twice);
  EXPECT_THAT(twice.error().message, HasSubstr("\"a\""));
  EXPECT_FALSE(std::filesystem::exists(path));

  const auto nowhere = write_safetensors("/nonexistent/x.safetensors", std::span(&good, 1));
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, ErrorCode::not_found);
  EXPECT_THAT(nowhere.error().message, HasSubstr("/nonexistent/x.safetensors"));
}

}  // namespace
}  // namespace tetrad
