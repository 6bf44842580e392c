#include "kernels/cpu/row_pieces.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

namespace tetrad {
namespace {

struct DoneRows {
  size_t matrix;
  int64_t begin;
  int64_t end;
  auto operator<=>(const DoneRows&) const = default;
};

/// What deal() hands out, in order; each piece once.
std::vector<DoneRows> dealt(RowPieces& pieces, ThreadPool& pool) {
  std::mutex mutex;
  std::vector<DoneRows> done;
  pieces.deal(pool, [&](int, const RowPiece& piece, const RowPiece*) {
    const std::scoped_lock lock(mutex);
    done.push_back({piece.matrix, piece.rows.begin, piece.rows.end});
  });
  std::ranges::sort(done);
  return done;
}

/// That every row of every matrix is in one piece, all pieces but a matrix' last end at a multiple
/// of kColumnGrain, and none has more than `most` rows.
void expect_all_rows(const std::vector<DoneRows>& done, const std::vector<int64_t>& rows,
                     int64_t most) {
  std::vector<int64_t> next(rows.size(), 0);
  for (const DoneRows& piece : done) {
    ASSERT_LT(piece.matrix, rows.size());
    EXPECT_EQ(piece.begin, next[piece.matrix]);
    EXPECT_GT(piece.end, piece.begin);
    EXPECT_LE(piece.end - piece.begin, most);
    EXPECT_TRUE(piece.end == rows[piece.matrix] || piece.end % kColumnGrain == 0);
    next[piece.matrix] = piece.end;
  }
  EXPECT_EQ(next, rows);
}

TEST(RowPieces, EveryRowIsDealtOnce) {
  for (const int num_threads : {1, 2, 3, 8}) {
    ThreadPool pool(num_threads);
    RowPieces pieces;  // kept from one product to the next
    for (const std::vector<int64_t>& rows : std::vector<std::vector<int64_t>>{
             {1}, {16}, {17}, {0, 40, 0}, {3072}, {1536, 1536, 3072, 5}, {200'064}}) {
      int64_t total = 0;
      for (const int64_t count : rows)
        total += count;
      for (const int64_t multiplications : {1, 3072, 1 << 20}) {
        pieces.start(total, multiplications, num_threads);
        for (const int64_t count : rows)
          pieces.add(count);
        expect_all_rows(dealt(pieces, pool), rows, std::max(total, kColumnGrain));
        pieces.start(total, multiplications, num_threads);
        for (const int64_t count : rows)
          pieces.add(count, 2 * kColumnGrain);
        expect_all_rows(dealt(pieces, pool), rows, 2 * kColumnGrain);
      }
    }
  }
}

TEST(RowPieces, LittleWorkStaysOnTheCallingThread) {
  ThreadPool pool(4);
  RowPieces pieces;
  pieces.start(64, 4, 4);
  pieces.add(64, kColumnGrain);
  const auto caller = std::this_thread::get_id();
  int num_pieces = 0;
  pieces.deal(pool, [&](int thread, const RowPiece&, const RowPiece*) {
    EXPECT_EQ(thread, 0);
    EXPECT_EQ(std::this_thread::get_id(), caller);
    ++num_pieces;
  });
  EXPECT_EQ(num_pieces, 4);
}

// Thread 0 does nothing before all others' pieces are done, and those of its own share that it has
// not begun.
TEST(RowPieces, OthersDoTheShareOfAThreadThatIsHeldUp) {
  constexpr int kThreads = 3;
  constexpr int64_t kDealtRows = 30 * kColumnGrain;
  ThreadPool pool(kThreads);
  RowPieces pieces;
  pieces.start(kDealtRows, kWorthThreads, kThreads);
  pieces.add(kDealtRows, kColumnGrain);
  std::atomic<int> num_done = 0;
  std::atomic<int> num_of_held_up = 0;
  pieces.deal(pool, [&](int thread, const RowPiece&, const RowPiece*) {
    if (thread == 0) {
      ++num_of_held_up;
      while (num_done < 29)
        std::this_thread::yield();
    }
    ++num_done;
  });
  EXPECT_EQ(num_done, 30);
  EXPECT_LE(num_of_held_up, 1);
}

TEST(RowPieces, ThePieceAfterIsTheNextOfTheSameShare) {
  ThreadPool pool(1);
  RowPieces pieces;
  pieces.start(8 * kColumnGrain, kWorthThreads, 2);
  pieces.add(8 * kColumnGrain, kColumnGrain);
  std::vector<int64_t> begun;
  std::vector<int64_t> announced;
  pieces.deal(pool, [&](int, const RowPiece& piece, const RowPiece* next) {
    begun.push_back(piece.rows.begin / kColumnGrain);
    announced.push_back(next == nullptr ? -1 : next->rows.begin / kColumnGrain);
  });
  EXPECT_EQ(begun, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(announced, (std::vector<int64_t>{1, 2, 3, -1, 5, 6, 7, -1}));
}

}  // namespace
}  // namespace tetrad
