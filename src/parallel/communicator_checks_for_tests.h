#pragma once

// What every Communicator must do, for each rank of a group to run at once. Throws what went wrong:
// a rank may be a thread or a process of its own.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <stdexcept>
#include <vector>

#include "parallel/communicator.h"

namespace tetrad::parallel {

template <class T>
void expect_equal(const std::vector<T>& got, const std::vector<T>& wanted, std::string_view what) {
  if (got == wanted) return;
  throw std::logic_error(
      fmt::format("{}: {} values, not the {} wanted", what, got.size(), wanted.size()));
}

inline void expect_ok(const Result<void>& result, std::string_view what) {
  if (!result) throw std::logic_error(fmt::format("{}: {}", what, result.error().message));
}

/// What rank `rank` brings to round `round`.
inline std::vector<float> values_of_rank(int rank, uint32_t round, size_t count) {
  std::mt19937 random(round * 64 + static_cast<uint32_t>(rank));
  std::vector<float> values(count);
  // Of very different sizes, so that the order of addition shows.
  for (float& value : values)
    value = std::ldexp(static_cast<float>(random()) - 2e9f, static_cast<int>(random() % 40));
  return values;
}

/// Sums, gatherings and broadcasts of all sizes by turns, `rounds` of each.
inline void check_collectives(Communicator& ranks, uint32_t rounds) {
  const int size = ranks.size();
  for (uint32_t round = 0; round < rounds; ++round) {
    const size_t count = round < 4 ? round : std::mt19937(round)() % 5000;
    std::vector<float> sum = values_of_rank(ranks.rank(), round, count);
    const std::vector<float> mine = sum;
    std::vector<float> sum_wanted(count);
    std::vector<float> all_wanted;
    for (int rank = 0; rank < size; ++rank) {
      const std::vector<float> part = values_of_rank(rank, round, count);
      for (size_t i = 0; i < count; ++i)
        sum_wanted[i] = rank == 0 ? part[i] : sum_wanted[i] + part[i];
      all_wanted.insert(all_wanted.end(), part.begin(), part.end());
    }
    expect_ok(ranks.all_reduce_sum(sum), "sum");
    expect_equal(sum, sum_wanted, "sum");

    std::vector<float> all(count * static_cast<size_t>(size));
    expect_ok(all_gather_values<float>(ranks, mine, all), "gathering");
    expect_equal(all, all_wanted, "gathering");

    const int root = static_cast<int>(round) % size;
    std::vector<float> told = mine;
    expect_ok(ranks.broadcast(std::as_writable_bytes(std::span(told)), root), "broadcast");
    expect_equal(told, values_of_rank(root, round, count), "broadcast");
    expect_ok(ranks.barrier(), "barrier");
  }
}

}  // namespace tetrad::parallel
