// Run by mpirun: what ranks that are processes must do. MODE is one of
//   collectives   what every Communicator must do, and that all are found on this machine
//   model FOLDER  the demo model by all ranks, with experts cut and dealt out, against one rank
//   leave         the last rank leaves in the middle, and the others are told
//   absent        the last rank does not come, and the others do not wait for ever
// Each rank says what it saw; the exit status is that of the worst.

#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>

#include "kernels/kernels.h"
#include "parallel/communicator_checks_for_tests.h"
#include "parallel/mpi_ranks.h"
#include "parallel/neighbours.h"
#include "rank_answers.h"

namespace tetrad {
namespace {

using parallel::Communicator;
using parallel_for_tests::Answer;

constexpr std::chrono::milliseconds kCheckDeadline{20'000};
constexpr std::chrono::milliseconds kAbsentDeadline{500};
/// As tests/parallel/ranks_test.cpp.
constexpr float kMpiTolerance = 1e-4f;
const KvCacheFormat kExactMpiCache{DType::f32, {}};

void require(bool condition, std::string_view what) {
  if (!condition) throw std::logic_error(std::string(what));
}

std::shared_ptr<Kernels> kernels_of_check() {
  return make_cpu_kernels(std::make_shared<ThreadPool>(1)).value();
}

void check_model(const std::shared_ptr<Communicator>& ranks, const std::string& folder) {
  const auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(folder).value());
  const Answer one = parallel_for_tests::answer_of(
                         *MiniMaxM2::load(checkpoint, kernels_of_check()).value(), kExactMpiCache)
                         .value();
  for (const bool expert_parallel : {false, true}) {
    const plan::Layout layout{.tensor_parallel = ranks->size(), .expert_parallel = expert_parallel};
    const auto model = MiniMaxM2::load(checkpoint, kernels_of_check(), layout, ranks).value();
    const Result<Answer> answer = parallel_for_tests::answer_of(*model, kExactMpiCache);
    require(answer.has_value(), answer ? "" : answer.error().message);
    const float difference = parallel_for_tests::largest_difference(*answer, one);
    fmt::print("rank {} of {}, {} experts: largest difference {:.1e}\n", ranks->rank(),
               ranks->size(), expert_parallel ? "whole" : "cut", difference);
    require(difference <= kMpiTolerance, "the logits are not those of one rank");
    require(answer->greedy == one.greedy, "the tokens are not those of one rank");
    require(answer->top_ids[0] == answer->greedy[0], "the likeliest token is another");
    // The same bits on every rank.
    std::vector<float> all(answer->logits.size() * static_cast<size_t>(ranks->size()));
    parallel::expect_ok(parallel::all_gather_values<float>(*ranks, answer->logits, all),
                        "gathering");
    for (size_t i = 0; i < all.size(); ++i)
      require(all[i] == answer->logits[i % answer->logits.size()], "ranks differ");
  }
}

/// mpirun started them all here.
void check_neighbours(Communicator& ranks) {
  const parallel::Neighbours found = parallel::find_neighbours(ranks).value();
  require(found.num_here == ranks.size(), "ranks are not found on this machine");
  require(found.index_here == ranks.rank(), "another order");
  require(found.num_sharing == ranks.size(), "mpirun was told to bind none");
  for (const parallel::Neighbour& neighbour : found.others)
    require(neighbour.process > 0 && neighbour.process != ::getpid(), "no process");
}

void check_leave(const std::shared_ptr<Communicator>& ranks) {
  parallel::expect_ok(ranks->barrier(), "barrier");
  const int last = ranks->size() - 1;
  if (ranks->rank() == last) return;
  std::vector<float> values(100);
  const auto summed = ranks->all_reduce_sum(values);
  require(!summed, "a sum without a rank");
  require(summed.error().message == fmt::format("rank {} of {} has left", last, ranks->size()),
          summed.error().message);
  require(ranks->barrier().error().message == summed.error().message, "another error");
}

void check_absent(const std::shared_ptr<Communicator>& ranks) {
  parallel::expect_ok(ranks->barrier(), "barrier");
  const int last = ranks->size() - 1;
  if (ranks->rank() == last) {
    std::this_thread::sleep_for(4 * kAbsentDeadline);
    return;
  }
  std::vector<float> values(100);
  const auto summed = ranks->all_reduce_sum(values);
  require(!summed, "a sum without a rank");
  const std::string wanted =
      fmt::format("rank {} of {} did not come to a sum of 100 values within {} ms", last,
                  ranks->size(), kAbsentDeadline.count());
  require(summed.error().message == wanted, summed.error().message);
}

int check(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  auto joined = parallel::join_mpi_ranks(mode == "absent" ? kAbsentDeadline : kCheckDeadline);
  require(joined.has_value(), joined ? "" : joined.error().message);
  const std::shared_ptr<Communicator> ranks = std::move(*joined);
  if (mode == "collectives") {
    parallel::check_collectives(*ranks, 60);
    check_neighbours(*ranks);
    // Long enough for slices, and of a length that does not divide.
    std::vector<float> values(100'003, static_cast<float>(ranks->rank() + 1));
    parallel::expect_ok(ranks->all_reduce_sum(values), "sum");
    const int sum = ranks->size() * (ranks->size() + 1) / 2;
    for (const float value : values)
      require(value == static_cast<float>(sum), "a wrong sum");
  } else if (mode == "model" && argc > 2) {
    check_model(ranks, argv[2]);
  } else if (mode == "leave") {
    check_leave(ranks);
  } else if (mode == "absent") {
    check_absent(ranks);
    fmt::print("rank {} does not wait\n", ranks->rank());
    std::fflush(stdout);
    // Without the end of MPI, which waits for the others.
    std::quick_exit(EXIT_SUCCESS);
  } else {
    require(false, "MODE is one of collectives, model FOLDER, leave, absent");
  }
  fmt::print("rank {} of {}: {} done\n", ranks->rank(), ranks->size(), mode);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace tetrad

int main(int argc, char** argv) {
  try {
    return tetrad::check(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return EXIT_FAILURE;
  }
}
