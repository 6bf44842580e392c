#include "parallel/agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "parallel/ranks_for_tests.h"

namespace tetrad::parallel {
namespace {

/// What each of three ranks says where rank 1 has the value `odd` and the others have `value`.
std::vector<std::string> said_to(const std::string& value, const std::string& odd) {
  return on_all_ranks<std::string>(
      3, [&](const std::shared_ptr<Communicator>& ranks) -> std::string {
        const AgreedValue values[] = {{"the first", "x"},
                                      {"--flag", ranks->rank() == 1 ? odd : value}};
        const auto agreed = agree(*ranks, values);
        return agreed ? "" : agreed.error().message;
      });
}

TEST(Agreement, NamesWhatDiffersAndWhere) {
  EXPECT_THAT(said_to("a", "a"), testing::Each(""));
  EXPECT_THAT(said_to("", ""), testing::Each(""));
  EXPECT_THAT(said_to("bfloat16", "float32"),
              testing::Each("the ranks do not agree on --flag: rank 0 has bfloat16 and rank 1 has "
                            "float32"));
}

TEST(Agreement, ComparesLongValuesToTheirEnd) {
  const std::string text(1000, 'a');
  EXPECT_THAT(said_to(text, text), testing::Each(""));
  EXPECT_THAT(said_to(text, text + "b"), testing::Each(testing::HasSubstr("--flag")));
  const std::string just(kLongestValue, 'a');
  EXPECT_THAT(said_to(just, just + "a"), testing::Each(testing::HasSubstr("--flag")));
}

/// What each of three ranks is told where some fare badly.
std::vector<std::string> told_of(const std::function<Result<void>(int rank)>& fare) {
  return on_all_ranks<std::string>(
      3, [&](const std::shared_ptr<Communicator>& ranks) -> std::string {
        const auto agreed = agree(*ranks, fare(ranks->rank()));
        return agreed ? "" : agreed.error().param + "|" + agreed.error().message;
      });
}

TEST(Agreement, TellsOfTheFirstThatFailed) {
  EXPECT_THAT(told_of([](int) { return Result<void>(); }), testing::Each(""));
  EXPECT_THAT(told_of([](int rank) -> Result<void> {
                if (rank == 0) return {};
                return fail_param("--flag", "rank {} has no room", rank);
              }),
              testing::Each("--flag|rank 1: rank 1 has no room"));
}

TEST(Agreement, NamesNoRankWhereAllFailAlike) {
  EXPECT_THAT(told_of([](int) -> Result<void> { return fail(ErrorCode::io, "no library"); }),
              testing::Each("|no library"));
}

TEST(Agreement, CutsWhatIsTooLong) {
  const std::string text(2000, 'a');
  EXPECT_THAT(told_of([&](int) -> Result<void> { return fail_param(text, "{}", text); }),
              testing::Each(std::string(63, 'a') + "|" + std::string(943, 'a')));
}

}  // namespace
}  // namespace tetrad::parallel
