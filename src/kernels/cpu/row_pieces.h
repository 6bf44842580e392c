#pragma once

// The rows of some matrices, cut into pieces. Each thread has a share of them, in order, and helps
// the others when it is done: one that is held up does not hold up all. Which thread does a piece
// depends on timing; what comes of it does not, since no sum goes over rows.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "base/integer_math.h"
#include "base/thread_pool.h"
#include "kernels/cpu/shares.h"

namespace tetrad {

/// Rows of one of the matrices.
struct RowPiece {
  size_t matrix;
  Share rows;
};

class RowPieces {
 public:
  /// Forgets what was added. All matrices together will have `total_rows`, with so many
  /// multiplications each.
  void start(int64_t total_rows, int64_t multiplications_of_a_row, int num_threads) {
    pieces_.clear();
    num_matrices_ = 0;
    multiplications_ = total_rows * multiplications_of_a_row;
    if (lanes_.size() != static_cast<size_t>(num_threads))
      lanes_ = std::vector<Lane>(static_cast<size_t>(num_threads));

    const int64_t worth = ceil_div(kWorthAPiece, std::max(multiplications_of_a_row, int64_t{1}));
    const int64_t few_pieces = total_rows / (kMostPieces * num_threads);
    const int64_t a_share = ceil_div(total_rows, num_threads);
    const int64_t size = std::min(std::max({kLeastRows, worth, few_pieces}), a_share);
    piece_rows_ = std::max(ceil_div(size, kColumnGrain), int64_t{1}) * kColumnGrain;
  }

  /// The next matrix, in pieces of `most_rows` at most, a multiple of kColumnGrain.
  void add(int64_t rows, int64_t most_rows) {
    const int64_t size = std::min(piece_rows_, most_rows);
    for (int64_t begin = 0; begin < rows; begin += size)
      pieces_.push_back({num_matrices_, {begin, std::min(begin + size, rows)}});
    ++num_matrices_;
  }
  void add(int64_t rows) { add(rows, piece_rows_); }

  /// body(thread, piece, next) for all pieces, on all threads if that is worth it. `next` is the
  /// piece that the thread probably does after this one, or null.
  template <class Body>
  void deal(ThreadPool& pool, const Body& body) {
    const size_t num_lanes = lanes_.size();
    for (size_t lane = 0; lane < num_lanes; ++lane) {
      lanes_[lane].next = pieces_.size() * lane / num_lanes;
      lanes_[lane].end = pieces_.size() * (lane + 1) / num_lanes;
    }
    run_on_threads(pool, multiplications_, [&](int thread, int) {
      for (size_t i = 0; i < num_lanes; ++i)
        do_lane(lanes_[(static_cast<size_t>(thread) + i) % num_lanes], thread, body);
    });
  }

 private:
  /// A thread's share of the pieces. On a cache line of its own.
  struct alignas(64) Lane {
    std::atomic<size_t> next = 0;
    size_t end = 0;
  };

  /// Rows of a piece: so few that their weights stay in the L2 cache while tokens come and go.
  static constexpr int64_t kLeastRows = 256;
  /// Multiplications: a few microseconds.
  static constexpr int64_t kWorthAPiece = 4 * kWorthThreads;
  /// Of a thread.
  static constexpr int64_t kMostPieces = 256;

  template <class Body>
  void do_lane(Lane& lane, int thread, const Body& body) const {
    const auto take = [&] { return lane.next.fetch_add(1, std::memory_order_relaxed); };
    for (size_t i = take(); i < lane.end; i = take())
      body(thread, pieces_[i], i + 1 < lane.end ? &pieces_[i + 1] : nullptr);
  }

  std::vector<RowPiece> pieces_;
  std::vector<Lane> lanes_;
  size_t num_matrices_ = 0;
  int64_t multiplications_ = 0;
  int64_t piece_rows_ = kColumnGrain;
};

}  // namespace tetrad
