#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <vector>

#include "base/checked_math.h"
#include "base/digest.h"
#include "base/dtype.h"
#include "base/file_lock.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/pending_file.h"
#include "base/thread_pool.h"

namespace tetrad {
namespace {

TEST(Dtype, EveryF16SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = f16_to_float(half);
    // The compiler's own binary16 is the oracle.
    _Float16 oracle;
    std::memcpy(&oracle, &half, sizeof half);
    if (std::isnan(static_cast<float>(oracle))) {
      EXPECT_TRUE(std::isnan(value));
      continue;
    }
    ASSERT_EQ(value, static_cast<float>(oracle)) << bits;
    ASSERT_EQ(float_to_f16(value), half) << bits;
  }
}

TEST(Dtype, FloatToF16RoundsAsTheCompilerDoes) {
  for (uint64_t bits = 0; bits < 0x100000000ull; bits += 9973) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (std::isnan(value)) continue;
    const auto oracle = static_cast<_Float16>(value);
    uint16_t expected = 0;
    std::memcpy(&expected, &oracle, sizeof expected);
    ASSERT_EQ(float_to_f16(value), expected) << value;
  }
}

TEST(Dtype, E4m3HasTheValuesOfItsSpecification) {
  EXPECT_EQ(f8_e4m3_to_float(0x7E), 448.0f);
  EXPECT_EQ(f8_e4m3_to_float(0xFE), -448.0f);
  EXPECT_EQ(f8_e4m3_to_float(0x01), std::ldexp(1.0f, -9));
  EXPECT_EQ(f8_e4m3_to_float(0x08), std::ldexp(1.0f, -6));
  EXPECT_EQ(f8_e4m3_to_float(0x38), 1.0f);
  EXPECT_TRUE(std::isnan(f8_e4m3_to_float(0x7F)));
}

/// The 127 magnitudes of E4M3FN by its definition, in ascending order: fraction and exponent fields
/// count up together.
std::vector<double> e4m3_magnitudes() {
  std::vector<double> values;
  for (int exponent = 0; exponent < 16; ++exponent) {
    for (int fraction = 0; fraction < 8; ++fraction) {
      if (exponent == 15 && fraction == 7) continue;  // NaN
      values.push_back(exponent == 0 ? std::ldexp(fraction / 8.0, -6)
                                     : std::ldexp(1 + fraction / 8.0, exponent - 7));
    }
  }
  return values;
}

TEST(Dtype, E4m3OfItsOwnValuesIsExact) {
  const std::vector<double> values = e4m3_magnitudes();
  for (size_t code = 0; code < values.size(); ++code) {
    const auto value = static_cast<float>(values[code]);
    EXPECT_EQ(float_to_f8_e4m3(value), code);
    EXPECT_EQ(float_to_f8_e4m3(-value), code | 0x80u);
    EXPECT_EQ(f8_e4m3_to_float(static_cast<uint8_t>(code)), value);
  }
}

TEST(Dtype, E4m3RoundsToTheNearestAndTiesToEven) {
  const std::vector<double> values = e4m3_magnitudes();
  for (size_t code = 0; code + 1 < values.size(); ++code) {
    // A float holds every midpoint, which has one fraction bit more.
    const auto middle = static_cast<float>((values[code] + values[code + 1]) / 2);
    const size_t even = code % 2 == 0 ? code : code + 1;
    EXPECT_EQ(float_to_f8_e4m3(middle), even) << middle;
    EXPECT_EQ(float_to_f8_e4m3(-middle), even | 0x80u) << middle;
    EXPECT_EQ(float_to_f8_e4m3(std::nextafter(middle, 0.0f)), code) << middle;
    EXPECT_EQ(float_to_f8_e4m3(std::nextafter(middle, 1e9f)), code + 1) << middle;
  }
}

TEST(Dtype, E4m3SaturatesAndKeepsNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float large : {449.0f, 464.0f, 465.0f, 1e9f, 3e38f, infinity}) {
    EXPECT_EQ(float_to_f8_e4m3(large), 0x7E) << large;
    EXPECT_EQ(float_to_f8_e4m3(-large), 0xFE) << large;
  }
  EXPECT_EQ(float_to_f8_e4m3(std::numeric_limits<float>::denorm_min()), 0x00);
  EXPECT_EQ(float_to_f8_e4m3(-0.0f), 0x80);
  EXPECT_TRUE(std::isnan(f8_e4m3_to_float(float_to_f8_e4m3(std::nanf("")))));
}

/// Every 1,021st float: no other code is nearer.
TEST(Dtype, E4m3IsNearestForFloatsOfEverySize) {
  const std::vector<double> values = e4m3_magnitudes();
  for (uint64_t bits = 0; bits <= 0x7F800000u; bits += 1021) {
    const auto value = std::bit_cast<float>(static_cast<uint32_t>(bits));
    const size_t code = float_to_f8_e4m3(value);
    ASSERT_LT(code, values.size()) << value;
    if (value > 448.0f) {
      ASSERT_EQ(code, 0x7Eu) << value;
      continue;
    }
    const double error = std::abs(values[code] - static_cast<double>(value));
    if (code > 0) {
      ASSERT_LE(error, std::abs(values[code - 1] - static_cast<double>(value)));
    }
    if (code + 1 < values.size()) {
      ASSERT_LE(error, std::abs(values[code + 1] - static_cast<double>(value)));
    }
  }
}

TEST(Dtype, Bf16RoundsToNearestEven) {
  EXPECT_EQ(float_to_bf16(1.0f), 0x3F80);
  EXPECT_EQ(float_to_bf16(std::bit_cast<float>(0x3F808000u)), 0x3F80);
  EXPECT_EQ(float_to_bf16(std::bit_cast<float>(0x3F818000u)), 0x3F82);
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::nanf("")))));
}

TEST(CheckedMath, OverflowIsNoNumber) {
  EXPECT_EQ(checked_add(1, 2), 3u);
  EXPECT_FALSE(checked_add(UINT64_MAX, 1));
  EXPECT_FALSE(checked_mul(1ull << 40, 1ull << 40));
  const int64_t huge[] = {1ll << 40, 1ll << 40};
  const int64_t negative[] = {-1, 2};
  EXPECT_FALSE(checked_num_elements(huge));
  EXPECT_FALSE(checked_num_elements(negative));
  EXPECT_EQ(checked_num_elements({}), 1u);
}

TEST(Json, ErrorsNameTheOffset) {
  const auto broken = parse_json(R"({"a": 1, )");
  ASSERT_FALSE(broken);
  EXPECT_NE(broken.error().message.find("byte"), std::string::npos);
}

TEST(Json, RefusesWhatReadersDisagreeAbout) {
  EXPECT_FALSE(parse_json(R"({"a": 1, "a": 2})"));
  EXPECT_FALSE(parse_json(R"([{"x": {"": 1, "": 2}}])"));
  EXPECT_FALSE(parse_json("1 2"));
  EXPECT_FALSE(parse_json(std::string(100'000, '[')));
  EXPECT_FALSE(parse_json("\"\xff\""));
  EXPECT_TRUE(parse_json(R"({"a": {"b": 1}, "b": {"a": 1}})"));
  EXPECT_TRUE(parse_json(" [1] \n"));
}

TEST(Json, SaysThatTextFollowsTheValue) {
  for (const char* text : {"{} x", "[1]]", "{\"a\": 1} {}", "\"a\" \"b\""}) {
    const auto parsed = parse_json(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_NE(parsed.error().message.find("text after the value"), std::string::npos) << text;
  }
}

TEST(Json, WritesNumbersAsPeopleDo) {
  const json::value value = {{"a", 2.1},
                             {"b", {1.0, -3.25, 1e-7, 1e22, 7, json::array()}},
                             {"c\n", "\"\u00e9"},
                             {"d", json::object()},
                             {"e", nullptr}};
  EXPECT_EQ(
      to_json_text(value),
      "{\"a\":2.1,\"b\":[1.0,-3.25,1e-07,1e+22,7,[]],\"c\\n\":\"\\\"\u00e9\",\"d\":{},\"e\":null}");
  EXPECT_EQ(parse_json(to_json_text(value)).value(), value);
  EXPECT_EQ(to_json_text(std::numeric_limits<double>::infinity()), "null");
}

TEST(Json, RefusesNumbersThatNoDoubleHolds) {
  const std::pair<const char*, const char*> cases[] = {
      {"1e400", ""},
      {"[0, [-43333333000000043333E0333333]]", "[1][0]"},
      {R"({"a": {"b": -1e309}})", "a.b"},
      {R"({"a": [0, {"b": -1e309}]})", "a[1].b"}};
  for (const auto& [text, param] : cases) {
    const auto parsed = parse_json(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().param, param) << text;
    EXPECT_NE(parsed.error().message.find("out of range"), std::string::npos);
  }
  EXPECT_TRUE(parse_json("[1.7e308, -1.7e308, 1e-400, 123456789012345678901234567890]"));
}

TEST(MappedFile, TellsWhatIsMissing) {
  const auto missing = MappedFile::open("/nonexistent/model.safetensors");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_NE(missing.error().message.find("/nonexistent/model.safetensors"), std::string::npos);
  EXPECT_FALSE(MappedFile::open("/tmp"));
}

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const auto path = std::filesystem::path(testing::TempDir()) / "mapped_file_test";
  std::ofstream(path) << "tetrad";
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  ASSERT_EQ(file->bytes().size(), 6u);
  const MappedFile moved = std::move(*file);
  EXPECT_EQ(std::memcmp(moved.bytes().data(), "tetrad", 6), 0);
  EXPECT_EQ(read_text_file(path).value(), "tetrad");
  EXPECT_FALSE(read_text_file(path, 3));
}

TEST(MappedFile, CanBeReadAfterItsPagesWereReleased) {
  const auto path = std::filesystem::path(testing::TempDir()) / "mapped_file_release_test";
  const std::string text(5 << 20, 'x');
  ASSERT_TRUE(write_text_file(path, "ab" + text + "yz"));
  const auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  const auto bytes = file->bytes();
  const auto is_resident = [&](size_t offset) {
    const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const auto* address = bytes.data() + offset / page * page;
    std::ifstream maps("/proc/self/smaps");
    std::string line;
    bool here = false;
    while (std::getline(maps, line)) {
      uintptr_t begin = 0;
      uintptr_t end = 0;
      if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
        const auto wanted = reinterpret_cast<uintptr_t>(address);
        here = begin <= wanted && wanted < end;
      }
      if (here && line.starts_with("Rss:")) return std::stol(line.substr(4)) > 0;
    }
    return false;
  };
  int64_t count = std::count(bytes.begin(), bytes.end(), std::byte{'x'});
  EXPECT_EQ(count, 5 << 20);
  EXPECT_TRUE(is_resident(0));
  file->release(bytes.subspan(3 << 20, 0));
  EXPECT_TRUE(is_resident(0));
  file->release(bytes);
  EXPECT_FALSE(is_resident(0));
  count = std::count(bytes.begin(), bytes.end(), std::byte{'x'});
  EXPECT_EQ(count, 5 << 20);
  file->release(bytes.subspan(1, 1));
  file->release(bytes.last(1));
  EXPECT_EQ(bytes.back(), std::byte{'z'});
}

TEST(Digest, IsThatOfB2sum) {
  // printf abc | b2sum -l 256
  constexpr const char* kOfAbc = "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319";
  EXPECT_EQ(digest_of("abc"), kOfAbc);
  Digest in_pieces;
  in_pieces.add("a");
  in_pieces.add("");
  in_pieces.add("bc");
  EXPECT_EQ(in_pieces.finish(), kOfAbc);
  const auto path = std::filesystem::path(testing::TempDir()) / "digest_test";
  const std::string text(3'000'001, 'q');
  ASSERT_TRUE(write_text_file(path, text));
  EXPECT_EQ(digest_of_file(path).value(), digest_of(text));
  EXPECT_EQ(digest_of_file("/nonexistent/x").error().code, ErrorCode::not_found);
}

TEST(FileLock, IsHeldByOneAtATime) {
  const auto path = std::filesystem::path(testing::TempDir()) / "file_lock_test";
  {
    const auto first = FileLock::take(path);
    ASSERT_TRUE(first) << first.error().message;
    const auto second = FileLock::take(path);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find(path.string()), std::string::npos);
    EXPECT_TRUE(std::filesystem::exists(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(FileLock::take(path)) << "a file that a killed process has left";
  EXPECT_FALSE(FileLock::take("/nonexistent/lock"));
}

TEST(PendingFile, CanBeWrittenInAnyOrderAndContinued) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "pending_file_resume_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directory(folder);
  const auto path = folder / "file";
  const auto bytes_of = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  {
    auto file = PendingFile::resume(path);
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->reserve(6));
    ASSERT_TRUE(file->write_at(4, bytes_of("ef")));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE(std::filesystem::exists(PendingFile::temporary_of(path)));
  auto file = PendingFile::resume(path);
  ASSERT_TRUE(file);
  std::array<char, 4> read{};
  ASSERT_TRUE(file->read_at(3, std::as_writable_bytes(std::span(read))));
  EXPECT_EQ(std::string_view(read.data(), read.size()), std::string_view("\0ef\0", 4));
  ASSERT_TRUE(file->reserve(5)) << "or shorter";
  ASSERT_TRUE(file->write("ab", 2));
  ASSERT_TRUE(file->write("cd", 2));
  ASSERT_TRUE(file->commit());
  EXPECT_EQ(read_text_file(path).value(), "abcde");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST(PendingFile, AppearsWhenItIsCompleteAndReplacesWhatWasThere) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "pending_file_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directory(folder);
  const auto path = folder / "file";
  std::ofstream(path) << "old";
  {
    auto file = PendingFile::create(path);
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write("new", 3));
    EXPECT_EQ(read_text_file(path).value(), "old");
    ASSERT_TRUE(file->commit());
  }
  EXPECT_EQ(read_text_file(path).value(), "new");
  {
    auto abandoned = PendingFile::create(path);
    ASSERT_TRUE(abandoned);
    ASSERT_TRUE(abandoned->write("half", 4));
  }
  EXPECT_EQ(read_text_file(path).value(), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  EXPECT_FALSE(write_text_file(folder / "missing" / "file", "text"));
}

TEST(ThreadPool, CoversTheRangeExactlyOnceWhateverTheNumberOfThreads) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (const int64_t count : {0, 1, 5, 64, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
      pool.parallel_for(count, 16, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i)
          hits[static_cast<size_t>(i)].fetch_add(1);
      });
      for (const auto& hit : hits)
        EXPECT_EQ(hit.load(), 1);
    }
  }
}

TEST(ThreadPool, ManyShortRuns) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  for (int i = 0; i < 2000; ++i)
    pool.run([&](int thread) { sum.fetch_add(thread); });
  EXPECT_EQ(sum.load(), 2000 * 3);
}

}  // namespace
}  // namespace tetrad
