// A driver that answers as ours would not: libcuda.so.1 for CUDA, with FAKE_HIP libamdhip64.so.7.
// It does nothing; FAKE_DRIVER in the environment says what is wrong with it.

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace {

bool is_wrong(std::string_view what) {
  const char* said = std::getenv("FAKE_DRIVER");
  return said != nullptr && what == said;
}

constexpr int kOutOfMemory = 2;
constexpr int kNoDevice = 100;
constexpr int kUnsupportedPtx = 222;
constexpr int kUnknown = 999;

int fake_init(unsigned) {
  return is_wrong("finds none") ? kNoDevice : is_wrong("is broken") ? kUnknown : 0;
}
int fake_device_count(int* count) {
  *count = is_wrong("has none") ? 0 : 2;
  return 0;
}
int fake_device(int* device, int index) {
  *device = index;
  return 0;
}
int fake_device_name(char* name, int, int) {
  std::strcpy(name, "Fake 9000");
  return 0;
}
int fake_attribute(int* value, int attribute, int) {
  return *value = attribute == 75 ? 9 : 0, 0;
}
int fake_version(int* version) {
  return *version = 12000, 0;
}
int fake_memory_info(size_t* free_bytes, size_t* total_bytes) {
  *free_bytes = 5'000'000'000;
  *total_bytes = 34'000'000'000;
  return 0;
}
int fake_allocate(void*, size_t) {
  return kOutOfMemory;
}
int fake_allocate_pinned(void*, size_t, unsigned) {
  return kOutOfMemory;
}
struct FakeHandle {
  char bytes[64];
};
int fake_bus_id(char* bus_id, int, int device) {
  std::strcpy(bus_id, device == 0 ? "0000:1B:00.0" : "0000:9A:00.0");
  return 0;
}
int fake_export(FakeHandle* handle, void*) {
  std::memset(handle->bytes, 'h', sizeof handle->bytes);
  return is_wrong("exports nothing") ? kUnknown : 0;
}
// What was exported, by value as the drivers take it, and opened as a peer's.
int fake_open(size_t* address, FakeHandle handle, unsigned flags) {
  if (handle.bytes[0] != 'h' || handle.bytes[63] != 'h' || flags != 1) return kUnknown;
  *address = 0x7000;
  return is_wrong("opens nothing") ? kUnknown : 0;
}
int fake_can_access_peer(int* can, int device, int peer) {
  *can = device != peer && !is_wrong("has no link") ? 1 : 0;
  return 0;
}
int fake_enable_peer() {
  return is_wrong("has peers already") ? 704 : is_wrong("refuses peers") ? kUnknown : 0;
}
int fake_map_host(void*, size_t, unsigned flags) {
  return flags == 3 && !is_wrong("maps nothing") ? 0 : kUnknown;
}
int fake_mapped_address(void** address, void* memory, unsigned) {
  *address = memory;
  return 0;
}
int fake_error_name(int status, const char** name) {
  *name = status == kOutOfMemory ? "OUT_OF_MEMORY" : "UNKNOWN";
  return 0;
}
int fake_error_text(int status, const char** text) {
  *text = status == kOutOfMemory ? "out of memory" : "unknown error";
  return 0;
}
int fake_load() {
  return is_wrong("is too old") ? kUnsupportedPtx : is_wrong("runs none") ? kUnknown : 0;
}

}  // namespace

#define NOTHING(name)     \
  extern "C" int name() { \
    return 0;             \
  }

#if !defined(FAKE_HIP)
extern "C" int cuInit(unsigned flags) {
  return fake_init(flags);
}
extern "C" int cuDeviceGetCount(int* count) {
  return fake_device_count(count);
}
extern "C" int cuDeviceGet(int* device, int index) {
  return fake_device(device, index);
}
extern "C" int cuDeviceGetName(char* name, int size, int device) {
  return fake_device_name(name, size, device);
}
extern "C" int cuDeviceGetAttribute(int* value, int attribute, int device) {
  return fake_attribute(value, attribute, device);
}
extern "C" int cuDriverGetVersion(int* version) {
  return fake_version(version);
}
extern "C" int cuMemGetInfo_v2(size_t* free, size_t* total) {
  return fake_memory_info(free, total);
}
extern "C" int cuMemAlloc_v2(void* to, size_t bytes) {
  return fake_allocate(to, bytes);
}
extern "C" int cuMemHostAlloc(void* to, size_t bytes, unsigned flags) {
  return fake_allocate_pinned(to, bytes, flags);
}
extern "C" int cuGetErrorName(int status, const char** name) {
  return fake_error_name(status, name);
}
extern "C" int cuGetErrorString(int status, const char** text) {
  return fake_error_text(status, text);
}
#if !defined(FAKE_LACKS_SHARING)
extern "C" int cuDeviceGetPCIBusId(char* bus_id, int size, int device) {
  return fake_bus_id(bus_id, size, device);
}
extern "C" int cuIpcGetMemHandle(FakeHandle* handle, void* memory) {
  return fake_export(handle, memory);
}
extern "C" int cuIpcOpenMemHandle_v2(size_t* address, FakeHandle handle, unsigned flags) {
  return fake_open(address, handle, flags);
}
extern "C" int cuDeviceCanAccessPeer(int* can, int device, int peer) {
  return fake_can_access_peer(can, device, peer);
}
extern "C" int cuCtxEnablePeerAccess(void*, unsigned) {
  return fake_enable_peer();
}
extern "C" int cuMemHostRegister_v2(void* memory, size_t bytes, unsigned flags) {
  return fake_map_host(memory, bytes, flags);
}
extern "C" int cuMemHostGetDevicePointer_v2(void** address, void* memory, unsigned flags) {
  return fake_mapped_address(address, memory, flags);
}
NOTHING(cuIpcCloseMemHandle)
NOTHING(cuMemHostUnregister)
#endif
extern "C" int cuModuleLoadDataEx() {
  return fake_load();
}
NOTHING(cuMemFree_v2)
NOTHING(cuMemFreeHost)
NOTHING(cuMemcpyHtoDAsync_v2)
NOTHING(cuMemcpyDtoHAsync_v2)
NOTHING(cuMemsetD8Async)
NOTHING(cuStreamCreate)
NOTHING(cuStreamSynchronize)
NOTHING(cuStreamDestroy_v2)
NOTHING(cuModuleUnload)
NOTHING(cuModuleGetFunction)
NOTHING(cuLaunchKernel)
#if !defined(FAKE_LACKS_GRAPHS)
NOTHING(cuStreamBeginCapture_v2)
NOTHING(cuGraphInstantiateWithFlags)
#endif
NOTHING(cuStreamEndCapture)
NOTHING(cuGraphLaunch)
NOTHING(cuGraphExecDestroy)
NOTHING(cuGraphDestroy)
NOTHING(cuEventCreate)
NOTHING(cuEventRecord)
NOTHING(cuEventSynchronize)
NOTHING(cuEventElapsedTime)
NOTHING(cuEventDestroy_v2)
NOTHING(cuDevicePrimaryCtxRetain)
NOTHING(cuDevicePrimaryCtxRelease_v2)
NOTHING(cuCtxSetCurrent)
NOTHING(cuFuncGetAttribute)
NOTHING(cuFuncSetAttribute)
#else
extern "C" int hipInit(unsigned flags) {
  return fake_init(flags);
}
extern "C" int hipGetDeviceCount(int* count) {
  return fake_device_count(count);
}
extern "C" int hipDeviceGet(int* device, int index) {
  return fake_device(device, index);
}
extern "C" int hipDeviceGetName(char* name, int size, int device) {
  return fake_device_name(name, size, device);
}
extern "C" int hipDeviceGetAttribute(int* value, int attribute, int device) {
  return fake_attribute(value, attribute, device);
}
extern "C" int hipRuntimeGetVersion(int* version) {
  return *version = 60'240'000, 0;
}
extern "C" int hipMemGetInfo(size_t* free, size_t* total) {
  return fake_memory_info(free, total);
}
extern "C" int hipMalloc(void* to, size_t bytes) {
  return fake_allocate(to, bytes);
}
extern "C" int hipHostMalloc(void* to, size_t bytes, unsigned flags) {
  return fake_allocate_pinned(to, bytes, flags);
}
extern "C" int hipDrvGetErrorName(int status, const char** name) {
  return fake_error_name(status, name);
}
extern "C" int hipDrvGetErrorString(int status, const char** text) {
  return fake_error_text(status, text);
}
extern "C" int hipDeviceGetPCIBusId(char* bus_id, int size, int device) {
  return fake_bus_id(bus_id, size, device);
}
// Uncached, as AMD's shared memory must be.
extern "C" int hipExtMallocWithFlags(size_t* address, size_t, unsigned flags) {
  *address = 0x5000;
  return flags == 3 ? 0 : kUnknown;
}
extern "C" int hipIpcGetMemHandle(FakeHandle* handle, void* memory) {
  return fake_export(handle, memory);
}
extern "C" int hipIpcOpenMemHandle(size_t* address, FakeHandle handle, unsigned flags) {
  return fake_open(address, handle, flags);
}
extern "C" int hipDeviceCanAccessPeer(int* can, int device, int peer) {
  return fake_can_access_peer(can, device, peer);
}
extern "C" int hipDeviceEnablePeerAccess(int peer, unsigned) {
  return peer == 1 ? fake_enable_peer() : kUnknown;
}
extern "C" int hipHostRegister(void* memory, size_t bytes, unsigned flags) {
  return fake_map_host(memory, bytes, flags);
}
extern "C" int hipHostGetDevicePointer(void** address, void* memory, unsigned flags) {
  return fake_mapped_address(address, memory, flags);
}
NOTHING(hipIpcCloseMemHandle)
NOTHING(hipHostUnregister)
extern "C" int hipModuleLoadData() {
  return fake_load();
}
NOTHING(hipFree)
NOTHING(hipHostFree)
NOTHING(hipMemcpyHtoDAsync)
NOTHING(hipMemcpyDtoHAsync)
NOTHING(hipMemsetD8Async)
NOTHING(hipStreamCreateWithFlags)
NOTHING(hipStreamSynchronize)
NOTHING(hipStreamDestroy)
NOTHING(hipModuleUnload)
NOTHING(hipModuleGetFunction)
NOTHING(hipModuleLaunchKernel)
#if !defined(FAKE_LACKS_GRAPHS)
NOTHING(hipStreamBeginCapture)
NOTHING(hipGraphInstantiateWithFlags)
#endif
NOTHING(hipStreamEndCapture)
NOTHING(hipGraphLaunch)
NOTHING(hipGraphExecDestroy)
NOTHING(hipGraphDestroy)
NOTHING(hipEventCreateWithFlags)
NOTHING(hipEventRecord)
NOTHING(hipEventSynchronize)
NOTHING(hipEventElapsedTime)
NOTHING(hipEventDestroy)
NOTHING(hipSetDevice)
#endif
