#include "kv_events/kv_events_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/json.h"

namespace tetrad::kv_events {
namespace {

constexpr std::string_view kFlag = "--kv-events-config";
constexpr int64_t kMaxCount = 10'000'000;
constexpr std::array<std::string_view, 9> kFields{
    "enable_kv_cache_events", "publisher", "endpoint",       "bind", "replay_endpoint",
    "buffer_steps",           "hwm",       "max_queue_size", "topic"};

template <class... Args>
tl::unexpected<Error> bad_field(std::string_view field, fmt::format_string<Args...> format,
                                Args&&... args) {
  return fail_param(kFlag, "{}: \"{}\" {}", kFlag, field,
                    fmt::format(format, std::forward<Args>(args)...));
}

/// null counts as not there.
const json::value* field_of(const json::object& config, std::string_view name) {
  const json::value* value = config.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<void> read(const json::object& config, std::string_view name, bool& target) {
  const json::value* value = field_of(config, name);
  if (value == nullptr) return {};
  if (!value->is_bool()) {
    return bad_field(name, "must be true or false, not {}", json_kind_name(*value));
  }
  target = value->get_bool();
  return {};
}

Result<void> read(const json::object& config, std::string_view name, std::string& target) {
  const json::value* value = field_of(config, name);
  if (value == nullptr) return {};
  if (!value->is_string()) {
    return bad_field(name, "must be a string, not {}", json_kind_name(*value));
  }
  target = std::string(value->get_string());
  return {};
}

Result<void> read(const json::object& config, std::string_view name, int64_t& target) {
  const json::value* value = field_of(config, name);
  if (value == nullptr) return {};
  if (!value->is_int64() || value->get_int64() < 1 || value->get_int64() > kMaxCount) {
    return bad_field(name, "must be a whole number from 1 to {}", kMaxCount);
  }
  target = value->get_int64();
  return {};
}

bool is_in_process_or_host(std::string_view endpoint) {
  return endpoint.starts_with("ipc://") || endpoint.starts_with("inproc://");
}

/// The part of "tcp://127.0.0.1:5557" between "//" and the port; "" for other transports.
std::string_view host_of(std::string_view endpoint) {
  constexpr std::string_view kTcp = "tcp://";
  if (!endpoint.starts_with(kTcp)) return "";
  endpoint.remove_prefix(kTcp.size());
  return endpoint.substr(0, endpoint.rfind(':'));
}

bool is_loopback(std::string_view endpoint) {
  const std::string_view host = host_of(endpoint);
  return host.starts_with("127.") || host == "localhost" || host == "[::1]" || host == "::1" ||
         host == "lo";
}

bool is_bound_by_rule(std::string_view endpoint) {
  return is_in_process_or_host(endpoint) || is_loopback(endpoint) ||
         endpoint.find('*') != std::string_view::npos ||
         endpoint.find("::") != std::string_view::npos;
}

Result<void> check_endpoint(std::string_view field, std::string_view endpoint) {
  if (is_in_process_or_host(endpoint)) return {};
  const std::string_view host = host_of(endpoint);
  if (!host.empty() && host.size() + std::string_view("tcp://:").size() < endpoint.size())
    return {};
  return bad_field(field, "must be as tcp://127.0.0.1:5557 or ipc:///run/events, not '{}'",
                   endpoint);
}

}  // namespace

Result<KvEventsConfig> parse_kv_events_config(std::string_view text) {
  const auto parsed = parse_json(text);
  if (!parsed || !parsed->is_object()) {
    return fail_param(kFlag,
                      "{}: expected a JSON object such as {{\"enable_kv_cache_events\": true}}{}",
                      kFlag, parsed ? "" : ": " + parsed.error().message);
  }
  const json::object& object = parsed->get_object();
  for (const auto& field : object) {
    if (std::ranges::find(kFields, std::string_view(field.key())) == kFields.end()) {
      return fail_param(kFlag, "{}: unknown field \"{}\"; known are {}", kFlag,
                        std::string_view(field.key()), fmt::join(kFields, ", "));
    }
  }
  KvEventsConfig config;
  TETRAD_TRY(read(object, "enable_kv_cache_events", config.enabled));
  std::string publisher = "zmq";
  TETRAD_TRY(read(object, "publisher", publisher));
  if (publisher != "zmq" && publisher != "null") {
    return bad_field("publisher", "must be \"zmq\" or \"null\", not '{}'", publisher);
  }
  config.enabled = config.enabled && publisher == "zmq";
  TETRAD_TRY(read(object, "endpoint", config.endpoint));
  TETRAD_TRY(check_endpoint("endpoint", config.endpoint));
  config.bind = is_bound_by_rule(config.endpoint);
  TETRAD_TRY(read(object, "bind", config.bind));
  TETRAD_TRY(read(object, "replay_endpoint", config.replay_endpoint));
  if (!config.replay_endpoint.empty()) {
    TETRAD_TRY(check_endpoint("replay_endpoint", config.replay_endpoint));
  }
  TETRAD_TRY(read(object, "buffer_steps", config.buffer_steps));
  TETRAD_TRY(read(object, "hwm", config.hwm));
  TETRAD_TRY(read(object, "max_queue_size", config.max_queue_size));
  TETRAD_TRY(read(object, "topic", config.topic));
  return config;
}

Result<void> check_is_local(const KvEventsConfig& config) {
  const auto check = [](std::string_view field, const std::string& endpoint) -> Result<void> {
    if (endpoint.empty() || is_in_process_or_host(endpoint) || is_loopback(endpoint)) return {};
    return bad_field(field,
                     "{} can be reached from other machines, which would read the tokens of all "
                     "prompts there; use tcp://127.0.0.1:PORT, or say --allow-unauthenticated",
                     endpoint);
  };
  if (config.bind) TETRAD_TRY(check("endpoint", config.endpoint));
  return check("replay_endpoint", config.replay_endpoint);
}

}  // namespace tetrad::kv_events
