// What ranks over MPI do is in tests/parallel/mpi_ranks_check.cpp, which mpirun runs.

#include "parallel/mpi_ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tetrad::parallel {
namespace {

TEST(MpiRanks, AreRefusedByABuildWithoutThem) {
  if (has_mpi()) GTEST_SKIP() << "this build has MPI";
  const auto ranks = join_mpi_ranks();
  ASSERT_FALSE(ranks);
  EXPECT_EQ(ranks.error().code, ErrorCode::unsupported);
  EXPECT_THAT(ranks.error().message, testing::HasSubstr("-DTETRAD_MPI=ON"));
}

}  // namespace
}  // namespace tetrad::parallel
