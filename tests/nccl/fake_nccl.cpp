// A library that names itself as NVIDIA's libnccl.so.2 or AMD's librccl.so.1 and works for one
// rank, whose sum is what it brings. FAKE_NCCL in the environment says what is wrong with it; what
// was asked of it stands in fake_nccl_calls().

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

bool is_wrong(std::string_view what) {
  const char* said = std::getenv("FAKE_NCCL");
  return said != nullptr && what == said;
}

constexpr int kSystemError = 2;
constexpr int kRemoteError = 6;

std::string& calls() {
  static std::string all;
  return all;
}
int note(const char* call, int status = 0) {
  calls() += call;
  calls() += ' ';
  return status;
}

struct UniqueId {
  char bytes[128];
};
int communicator = 0;
std::atomic<int> is_waiting{0};

}  // namespace

extern "C" const char* fake_nccl_calls() {
  return calls().c_str();
}

/// Whether a message on the device waits for a rank.
extern "C" int fake_nccl_is_waiting() {
  return is_waiting;
}

extern "C" int ncclGetVersion(int* version) {
  *version = is_wrong("is old") ? 21005 : 22809;
  return note("version");
}
extern "C" int ncclGetUniqueId(UniqueId* id) {
  std::memset(id->bytes, 'i', sizeof id->bytes);
  return note("id", is_wrong("finds no network") ? kSystemError : 0);
}
extern "C" int ncclCommInitRank(void** comm, int ranks, UniqueId id, int rank) {
  if (ranks != 1 || rank != 0 || id.bytes[0] != 'i' || id.bytes[127] != 'i') return 4;
  *comm = &communicator;
  return note("init", is_wrong("cannot begin") ? kSystemError : 0);
}
extern "C" int ncclCommDestroy(void* comm) {
  return comm == &communicator ? note("destroy") : 4;
}
extern "C" int ncclCommAbort(void* comm) {
  is_waiting = 0;
  return comm == &communicator ? note("abort") : 4;
}
extern "C" int ncclCommGetAsyncError(void* comm, int* status) {
  *status = is_wrong("loses a rank") ? kRemoteError : 0;
  return comm == &communicator ? 0 : 4;
}
extern "C" int ncclAllReduce(const void* from, void* to, size_t count, int type, int operation,
                             void* comm, void* stream) {
  const bool is_right = type == 7 && operation == 0 && comm == &communicator && stream != nullptr;
  if (!is_right) return 4;
  std::memmove(to, from, count * 4);
  if (is_wrong("never comes")) is_waiting = 1;
  if (is_wrong("adds wrongly")) static_cast<float*>(to)[count - 1] += 1;
  return note("sum");
}
#if !defined(FAKE_LACKS_GATHER)
extern "C" int ncclAllGather(const void* from, void* to, size_t count, int type, void* comm,
                             void* stream) {
  if (type != 7 || comm != &communicator || stream == nullptr) return 4;
  std::memmove(to, from, count * 4);
  return note("gather");
}
#endif
extern "C" const char* ncclGetErrorString(int status) {
  return status == kSystemError   ? "unhandled system error"
         : status == kRemoteError ? "remote process exited"
                                  : "invalid argument";
}
extern "C" const char* ncclGetLastError(void*) {
  return is_wrong("cannot begin") ? "no route to rank 1" : "";
}
