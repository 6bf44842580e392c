#include "gpu/driver.h"

#include <array>

#include "base/grouped_number.h"

namespace tetrad::gpu {

Result<void> Driver::allow_all_shared_memory(DriverHandle) const {
  return {};
}

Result<void> Driver::launch(DriverHandle function, const LaunchShape& shape, DriverHandle stream,
                            void** arguments) const {
  return call(functions_.launch, function, shape.grid_x, shape.grid_y, shape.grid_z, shape.threads,
              1, 1, shape.shared_bytes, stream, arguments, nullptr);
}

std::string Driver::explain(int status, std::string_view function) const {
  const char* name = nullptr;
  const char* text = nullptr;
  functions_.error_name.call(status, &name);
  functions_.error_text.call(status, &text);
  return fmt::format("{}: {}, {}", function,
                     name != nullptr ? name : fmt::format("error {}", status),
                     text != nullptr ? text : "which the driver does not explain");
}

Result<void> Driver::check(int status, std::string_view function) const {
  if (status == kDriverSuccess) return {};
  std::string message = explain(status, function);
  if (status != kDriverOutOfMemory) return fail(ErrorCode::internal, "{}", message);
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  if (functions_.memory_info.call(&free_bytes, &total_bytes) == kDriverSuccess)
    message += fmt::format("; of the GPU's {} bytes {} are free",
                           grouped_number(static_cast<int64_t>(total_bytes)),
                           grouped_number(static_cast<int64_t>(free_bytes)));
  return fail(ErrorCode::resource_exhausted, "{}", message);
}

Result<int> Driver::open_device(int index, std::string_view vendor, std::string_view hint) const {
  // With no GPU either call may be the one that says so.
  int count = 0;
  int status = functions_.init.call(0);
  const char* asked = functions_.init.name;
  if (status == kDriverSuccess) {
    status = functions_.device_count.call(&count);
    asked = functions_.device_count.name;
  }
  if (status == kDriverNoDevice || (status == kDriverSuccess && count == 0))
    return fail(ErrorCode::not_found,
                "no {} GPU: the driver is there but finds none; {}, or use --device cpu", vendor,
                hint);
  if (auto found = check(status, asked); !found) {
    found.error().code = ErrorCode::io;
    return tl::unexpected(std::move(found.error()).in(fmt::format("{} driver", vendor)));
  }
  if (index < 0 || index >= count)
    return fail(ErrorCode::not_found, "there is no {} GPU {}: this machine has {}, counted from 0",
                vendor, index, count);
  return device_at(index);
}

Result<int> Driver::device_at(int index) const {
  int device = 0;
  TETRAD_TRY(call(functions_.device, &device, index));
  return device;
}

Result<DeviceInfo> Driver::describe(int device, const DriverAttributes& attributes) const {
  DeviceInfo info;
  std::array<char, 256> name{};
  TETRAD_TRY(call(functions_.device_name, name.data(), static_cast<int>(name.size()) - 1, device));
  info.name = name.data();
  TETRAD_TRY(call(functions_.device_count, &info.num_devices));
  std::array<char, 32> bus_id{};
  if (functions_.device_bus_id.call != nullptr)
    TETRAD_TRY(
        call(functions_.device_bus_id, bus_id.data(), static_cast<int>(bus_id.size()) - 1, device));
  info.bus_id = bus_id.data();
  const auto attribute = [&](int number, int64_t& to) {
    int value = 0;
    auto asked = call(functions_.device_attribute, &value, number, device);
    to = value;
    return asked;
  };
  TETRAD_TRY(attribute(attributes.num_multiprocessors, info.num_multiprocessors));
  TETRAD_TRY(attribute(attributes.l2_bytes, info.l2_bytes));
  TETRAD_TRY(attribute(attributes.shared_bytes_per_block, info.shared_bytes_per_block));
  return info;
}

}  // namespace tetrad::gpu
