#include "plan/byte_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tetrad::plan {
namespace {

using testing::HasSubstr;

int64_t size_of(std::string_view text) {
  const auto size = parse_byte_size(text);
  EXPECT_TRUE(size) << text << ": " << size.error().message;
  return size.value_or(-1);
}

std::string error_of(std::string_view text) {
  const auto size = parse_byte_size(text);
  EXPECT_FALSE(size) << text;
  return size ? "" : size.error().message;
}

TEST(ByteSize, UnitsAreExact) {
  EXPECT_EQ(size_of("32GiB"), 34'359'738'368);
  EXPECT_EQ(size_of("32GB"), 32'000'000'000);
  EXPECT_EQ(size_of("1MiB"), 1'048'576);
  EXPECT_EQ(size_of("1MB"), 1'000'000);
  EXPECT_EQ(size_of("1KiB"), 1'024);
  EXPECT_EQ(size_of("1kB"), 1'000);
  EXPECT_EQ(size_of("2TiB"), 2'199'023'255'552);
  EXPECT_EQ(size_of("12187410432B"), 12'187'410'432);
}

TEST(ByteSize, FractionsAreDecimalAndRoundedDown) {
  EXPECT_EQ(size_of("11.35GiB"), 12'186'969'702);  // 12,186,969,702.4
  EXPECT_EQ(size_of("0.5KiB"), 512);
  EXPECT_EQ(size_of("1.999999GB"), 1'999'999'000);
  EXPECT_EQ(size_of("0.1TiB"), 109'951'162'777);  // 109,951,162,777.6
}

TEST(ByteSize, SaysWhatIsWrong) {
  EXPECT_THAT(error_of("32"), HasSubstr("'32' has no unit"));
  EXPECT_THAT(error_of("32G"), HasSubstr("'32G' has an unknown unit"));
  EXPECT_THAT(error_of("32gib"), HasSubstr("unknown unit"));
  EXPECT_THAT(error_of("32 GiB"), HasSubstr("unknown unit"));
  EXPECT_THAT(error_of(""), HasSubstr("does not begin with a number"));
  EXPECT_THAT(error_of("GiB"), HasSubstr("does not begin with a number"));
  EXPECT_THAT(error_of("-1GiB"), HasSubstr("does not begin with a number"));
  EXPECT_THAT(error_of(".5GiB"), HasSubstr("does not begin with a number"));
  EXPECT_THAT(error_of("1.GiB"), HasSubstr("does not begin with a number"));
  EXPECT_THAT(error_of("1.2.3GiB"), HasSubstr("does not begin with a number"));
  EXPECT_THAT(error_of("1.0000001GiB"), HasSubstr("more than 6 decimals"));
  EXPECT_THAT(error_of("0GiB"), HasSubstr("is nothing"));
  EXPECT_THAT(error_of("0.1B"), HasSubstr("is nothing"));
  EXPECT_THAT(error_of("1048577TiB"), HasSubstr("more than any machine has"));
  EXPECT_THAT(error_of("99999999999999999999999GiB"), HasSubstr("more than any machine has"));
}

TEST(ByteSize, SetOfGpus) {
  const auto eight = parse_gpu_set("8x32GiB");
  ASSERT_TRUE(eight) << eight.error().message;
  EXPECT_EQ(eight->count, 8);
  EXPECT_EQ(eight->bytes_each, 34'359'738'368);
  const auto one = parse_gpu_set("512MiB");
  ASSERT_TRUE(one) << one.error().message;
  EXPECT_EQ(one->count, 1);
  EXPECT_EQ(one->bytes_each, 536'870'912);
}

TEST(ByteSize, BadSetsOfGpus) {
  for (const auto* const text : {"0x32GiB", "x32GiB", "-1x32GiB", "8.5x32GiB", "4097x32GiB",
                                 "4x16GiB+4x32GiB", "8x", "8x32", "", "eight"}) {
    const auto gpus = parse_gpu_set(text);
    ASSERT_FALSE(gpus) << text;
    EXPECT_EQ(gpus.error().code, ErrorCode::invalid_argument);
    EXPECT_THAT(gpus.error().message, HasSubstr("as in ")) << text;
  }
}

}  // namespace
}  // namespace tetrad::plan
