#include "gpu/driver_device.h"

#include <algorithm>

#include "base/free_memory.h"
#include "base/grouped_number.h"

namespace tetrad::gpu {
namespace {

// Not to wait for work of the stream that other libraries use when they are given none.
constexpr unsigned kNonBlockingStream = 1;
// What is not recorded, allocations of this or another thread, may go on meanwhile.
constexpr int kRelaxedCapture = 2;

/// The driver stays as long as a graph does, so that either may go first.
class DriverGraph final : public Graph {
 public:
  DriverGraph(std::shared_ptr<const Driver> driver, DriverHandle executable)
      : driver_(std::move(driver)), executable_(executable) {}
  ~DriverGraph() override {
    if (driver_->make_current()) driver_->functions().destroy_executable_graph.call(executable_);
  }
  DriverGraph(const DriverGraph&) = delete;
  DriverGraph& operator=(const DriverGraph&) = delete;

  DriverHandle executable() const { return executable_; }

 private:
  std::shared_ptr<const Driver> driver_;
  DriverHandle executable_;
};

Result<void> check_byte_count(std::string_view what, int64_t bytes) {
  if (bytes >= 0) return {};
  return fail(ErrorCode::invalid_argument, "{}: {} bytes", what, bytes);
}

/// What is asked of the driver: it refuses to allocate nothing, which callers need not know.
size_t bytes_to_allocate(int64_t bytes) {
  return static_cast<size_t>(std::max<int64_t>(bytes, 1));
}

}  // namespace

Result<std::unique_ptr<Device>> DriverDevice::create(std::shared_ptr<const Driver> driver,
                                                     DriverHandle module, DeviceInfo info) {
  std::unique_ptr<DriverDevice> device(
      new DriverDevice(std::move(driver), module, std::move(info)));
  TETRAD_TRY(device->driver_->call(device->functions().create_stream, &device->stream_,
                                   kNonBlockingStream));
  return device;
}

DriverDevice::DriverDevice(std::shared_ptr<const Driver> driver, DriverHandle module,
                           DeviceInfo info)
    : driver_(std::move(driver)),
      module_(module),
      info_(std::move(info)),
      sharing_(*driver_, info_, [this] { return synchronize(); }) {}

// Nobody is left to tell if one of these fails.
DriverDevice::~DriverDevice() {
  if (!driver_->make_current()) return;
  if (stream_ != nullptr) functions().synchronize_stream.call(stream_);
  for (DriverHandle event : events_)
    functions().destroy_event.call(event);
  if (stream_ != nullptr) functions().destroy_stream.call(stream_);
  functions().unload_module.call(module_);
}

Result<DeviceInfo> DriverDevice::info() {
  TETRAD_TRY(driver_->make_current());
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  TETRAD_TRY(driver_->call(functions().memory_info, &free_bytes, &total_bytes));
  info_.free_bytes = static_cast<int64_t>(free_bytes);
  info_.total_bytes = static_cast<int64_t>(total_bytes);
  return info_;
}

Result<DeviceAddress> DriverDevice::allocate(int64_t bytes) {
  TETRAD_TRY(check_byte_count("allocate", bytes));
  TETRAD_TRY(driver_->make_current());
  DeviceAddress address = 0;
  auto allocated = driver_->call(functions().allocate, &address, bytes_to_allocate(bytes));
  if (!allocated)
    return tl::unexpected(std::move(allocated.error())
                              .in(fmt::format("{} bytes of GPU memory", grouped_number(bytes))));
  return address;
}

void DriverDevice::free(DeviceAddress address) {
  if (address == 0) return;
  settle();
  note(driver_->call(functions().free, address));
}

Result<std::byte*> DriverDevice::allocate_pinned(int64_t bytes) {
  TETRAD_TRY(check_byte_count("allocate_pinned", bytes));
  TETRAD_TRY(driver_->make_current());
  void* memory = nullptr;
  const auto& function = functions().allocate_pinned;
  const int status = function.call(&memory, bytes_to_allocate(bytes), 0);
  if (status == kDriverOutOfMemory)
    return fail(
        ErrorCode::resource_exhausted,
        "{} bytes of page-locked host memory: {}; of this machine's memory {} bytes are free",
        grouped_number(bytes), driver_->explain(status, function.name),
        grouped_number(free_memory()));
  TETRAD_TRY(driver_->check(status, function.name));
  return static_cast<std::byte*>(memory);
}

void DriverDevice::free_pinned(std::byte* memory) {
  if (memory == nullptr) return;
  settle();
  note(driver_->call(functions().free_pinned, memory));
}

Result<void> DriverDevice::copy_to_device(DeviceAddress to, const void* from, int64_t bytes) {
  TETRAD_TRY(check_byte_count("copy_to_device", bytes));
  if (bytes == 0) return {};
  TETRAD_TRY(driver_->make_current());
  return driver_->call(functions().copy_to_device, to, from, static_cast<size_t>(bytes), stream_);
}

Result<void> DriverDevice::copy_to_host(void* to, DeviceAddress from, int64_t bytes) {
  TETRAD_TRY(check_byte_count("copy_to_host", bytes));
  if (bytes == 0) return {};
  TETRAD_TRY(driver_->make_current());
  return driver_->call(functions().copy_to_host, to, from, static_cast<size_t>(bytes), stream_);
}

Result<void> DriverDevice::fill(DeviceAddress address, uint8_t value, int64_t bytes) {
  TETRAD_TRY(check_byte_count("fill", bytes));
  if (bytes == 0) return {};
  TETRAD_TRY(driver_->make_current());
  return driver_->call(functions().fill, address, value, static_cast<size_t>(bytes), stream_);
}

Result<Kernel> DriverDevice::kernel(std::string_view name) {
  TETRAD_TRY(driver_->make_current());
  Kernel kernel;
  const auto& find = functions().module_function;
  const int status = find.call(&kernel.handle, module_, std::string(name).c_str());
  if (status == kDriverNotFound)
    return fail(ErrorCode::not_found, "there is no kernel {} for {}", name, info_.architecture);
  TETRAD_TRY(driver_->check(status, find.name));
  TETRAD_TRY(driver_->allow_all_shared_memory(kernel.handle));
  return kernel;
}

Result<void> DriverDevice::launch(Kernel kernel, const LaunchShape& shape, const void* arguments,
                                  size_t) {
  TETRAD_TRY(driver_->make_current());
  // The driver knows the size of the argument, which it copies, from the kernel.
  void* pointers[] = {const_cast<void*>(arguments)};
  auto launched = driver_->launch(kernel.handle, shape, stream_, pointers);
  if (!launched)
    return tl::unexpected(
        std::move(launched.error())
            .in(fmt::format(
                "launch of {} x {} x {} blocks of {} threads with {} bytes of shared memory",
                shape.grid_x, shape.grid_y, shape.grid_z, shape.threads, shape.shared_bytes)));
  return {};
}

Result<void> DriverDevice::begin_graph() {
  TETRAD_TRY(check_not_recording("begin_graph"));
  TETRAD_TRY(driver_->make_current());
  TETRAD_TRY(driver_->call(functions().begin_capture, stream_, kRelaxedCapture));
  recording_ = true;
  return {};
}

Result<std::unique_ptr<Graph>> DriverDevice::end_graph() {
  if (!recording_) return fail(ErrorCode::internal, "end_graph: there was no begin_graph");
  recording_ = false;
  TETRAD_TRY(driver_->make_current());
  DriverHandle graph = nullptr;
  TETRAD_TRY(driver_->call(functions().end_capture, stream_, &graph));
  DriverHandle executable = nullptr;
  auto instantiated = driver_->call(functions().instantiate_graph, &executable, graph, 0);
  functions().destroy_graph.call(graph);
  if (!instantiated) return tl::unexpected(std::move(instantiated.error()));
  auto recorded = std::make_unique<DriverGraph>(driver_, executable);
  // Else the first launch does it, which may then wait for kernels of other streams: of a rank that
  // waits for this one.
  if (functions().upload_graph.call != nullptr)
    TETRAD_TRY(driver_->call(functions().upload_graph, executable, stream_));
  return recorded;
}

Result<void> DriverDevice::launch(const Graph& graph) {
  TETRAD_TRY(check_not_recording("launch of a graph"));
  TETRAD_TRY(driver_->make_current());
  return driver_->call(functions().launch_graph,
                       static_cast<const DriverGraph&>(graph).executable(), stream_);
}

Result<void> DriverDevice::synchronize() {
  TETRAD_TRY(check_not_recording("synchronize"));
  TETRAD_TRY(driver_->make_current());
  note(driver_->call(functions().synchronize_stream, stream_));
  return std::exchange(noted_, {});
}

Result<void*> DriverDevice::driver_stream() {
  TETRAD_TRY(driver_->make_current());
  return stream_;
}

Result<int> DriverDevice::record_time() {
  TETRAD_TRY(check_not_recording("record_time"));
  TETRAD_TRY(driver_->make_current());
  if (static_cast<size_t>(num_times_) == events_.size()) {
    DriverHandle event = nullptr;
    TETRAD_TRY(driver_->call(functions().create_event, &event, 0));
    events_.push_back(event);
  }
  TETRAD_TRY(driver_->call(functions().record_event, events_[num_times_], stream_));
  return num_times_++;
}

Result<double> DriverDevice::seconds_between(int first, int second) {
  TETRAD_TRY(check_not_recording("seconds_between"));
  if (std::min(first, second) < 0 || std::max(first, second) >= num_times_)
    return fail(ErrorCode::invalid_argument, "seconds_between {} and {}: there are {} times", first,
                second, num_times_);
  TETRAD_TRY(driver_->make_current());
  for (const int time : {first, second})
    note(driver_->call(functions().synchronize_event, events_[time]));
  TETRAD_TRY(std::exchange(noted_, {}));
  float milliseconds = 0;
  TETRAD_TRY(driver_->call(functions().elapsed_milliseconds, &milliseconds, events_[first],
                           events_[second]));
  return milliseconds * 1e-3;
}

Result<void> DriverDevice::check_not_recording(std::string_view what) const {
  if (!recording_) return {};
  return fail(ErrorCode::internal, "{}: not between begin_graph and end_graph", what);
}

void DriverDevice::settle() {
  note(driver_->make_current());
  if (!recording_) note(driver_->call(functions().synchronize_stream, stream_));
}

void DriverDevice::note(Result<void> done) {
  if (noted_ && !done) noted_ = std::move(done);
}

}  // namespace tetrad::gpu
