#include "parallel/neighbours.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>

namespace tetrad::parallel {
namespace {

/// Where a rank runs.
struct Place {
  std::array<char, 40> boot{};   // of this start of this machine; empty where it is not known
  uint64_t process_numbers = 0;  // whose numbers of processes they are: containers have their own
  int64_t process = 0;
  std::array<uint64_t, CPU_SETSIZE / 64> processors{};  // that it may use, as bits
};

Place place_of_this_process() {
  Place place;
  // A file of the kernel's, which has no size.
  std::ifstream("/proc/sys/kernel/random/boot_id").read(place.boot.data(), place.boot.size());
  struct stat status{};
  if (::stat("/proc/self/ns/pid", &status) == 0) place.process_numbers = status.st_ino;
  place.process = ::getpid();
  cpu_set_t usable;
  CPU_ZERO(&usable);
  if (::sched_getaffinity(0, sizeof usable, &usable) == 0) {
    static_assert(sizeof usable == sizeof place.processors);
    std::memcpy(place.processors.data(), &usable, sizeof usable);
  }
  return place;
}

/// glibc 2.36 declares its own for C alone.
int open_process(pid_t process) {
  return static_cast<int>(::syscall(SYS_pidfd_open, process, 0));
}

}  // namespace

Result<Neighbours> find_neighbours(Communicator& ranks) {
  const Place mine = place_of_this_process();
  std::vector<Place> all(static_cast<size_t>(ranks.size()));
  TETRAD_TRY(all_gather_values<Place>(ranks, {&mine, 1}, all));
  Neighbours found;
  for (int rank = 0; rank < ranks.size(); ++rank) {
    const Place& place = all[static_cast<size_t>(rank)];
    if (rank == ranks.rank() || mine.boot[0] == '\0' || place.boot != mine.boot) continue;
    // A thread of this process.
    const bool same_numbers = place.process_numbers == mine.process_numbers;
    if (same_numbers && place.process == mine.process) continue;
    found.others.push_back({rank, same_numbers ? static_cast<pid_t>(place.process) : 0});
    const int before = rank < ranks.rank() ? 1 : 0;
    ++found.num_here;
    found.index_here += before;
    if (place.processors != mine.processors) continue;
    ++found.num_sharing;
    found.index_sharing += before;
  }
  return found;
}

class ProcessWatch::Impl {
 public:
  Impl(const std::vector<Neighbour>& watched, std::function<void(int rank)> on_end)
      : on_end_(std::move(on_end)), stop_(::eventfd(0, EFD_CLOEXEC)) {
    for (const Neighbour& neighbour : watched) {
      if (neighbour.process <= 0) continue;
      // One that has ended already, or a system without these: its absence is noticed by deadline.
      FileDescriptor fd(open_process(neighbour.process));
      if (fd.get() < 0) continue;
      ranks_.push_back(neighbour.rank);
      processes_.push_back(std::move(fd));
    }
    if (stop_.get() >= 0 && !processes_.empty()) thread_ = std::thread([this] { watch(); });
  }
  ~Impl() {
    if (!thread_.joinable()) return;
    const uint64_t one = 1;
    while (::write(stop_.get(), &one, sizeof one) < 0 && errno == EINTR) {
    }
    thread_.join();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

 private:
  class FileDescriptor {
   public:
    explicit FileDescriptor(int fd) : fd_(fd) {}
    ~FileDescriptor() {
      if (fd_ >= 0) ::close(fd_);
    }
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    FileDescriptor& operator=(FileDescriptor&&) = delete;
    int get() const { return fd_; }

   private:
    int fd_;
  };

  void watch() {
    std::vector<pollfd> fds;
    fds.push_back({.fd = stop_.get(), .events = POLLIN, .revents = 0});
    for (const FileDescriptor& process : processes_)
      fds.push_back({.fd = process.get(), .events = POLLIN, .revents = 0});
    while (true) {
      if (::poll(fds.data(), fds.size(), -1) < 0) {
        if (errno == EINTR) continue;
        return;
      }
      if (fds[0].revents != 0) return;
      for (size_t i = 1; i < fds.size(); ++i) {
        if (fds[i].revents == 0) continue;
        fds[i].fd = -1;  // poll() passes over it
        on_end_(ranks_[i - 1]);
      }
    }
  }

  std::function<void(int rank)> on_end_;
  FileDescriptor stop_;
  std::vector<int> ranks_;  // of processes_
  std::vector<FileDescriptor> processes_;
  std::thread thread_;
};

ProcessWatch::ProcessWatch(const std::vector<Neighbour>& watched,
                           std::function<void(int rank)> on_end)
    : impl_(std::make_unique<Impl>(watched, std::move(on_end))) {}
ProcessWatch::~ProcessWatch() = default;

}  // namespace tetrad::parallel
