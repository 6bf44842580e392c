#include "cli_io.h"

#include <fmt/ranges.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <fstream>
#include <iostream>
#include <mutex>
#include <thread>
#include <utility>

#include "base/log.h"

namespace tetrad {
namespace {

Result<json::object> parse_line(const std::string& line) {
  TETRAD_ASSIGN(json::value value, parse_json(line));
  if (!value.is_object()) {
    return fail(ErrorCode::invalid_argument, "each line must be a JSON object, this one is {}",
                json_kind_name(value));
  }
  return std::move(value.get_object());
}

/// Writes answers in the order of their lines, on a thread of its own: a caller that sends one line
/// and waits for its answer gets it, whatever may still be read ahead.
class OrderedWriter {
 public:
  explicit OrderedWriter(size_t capacity) : capacity_(capacity), thread_([this] { run(); }) {}
  ~OrderedWriter() { close(); }
  OrderedWriter(const OrderedWriter&) = delete;
  OrderedWriter& operator=(const OrderedWriter&) = delete;

  /// Blocks while `capacity` answers are outstanding.
  void add(PendingAnswer answer) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return pending_.size() < capacity_; });
    pending_.push_back(std::move(answer));
    changed_.notify_all();
  }

  /// Waits until everything is written.
  void close() {
    {
      const std::scoped_lock lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void run() {
    while (true) {
      PendingAnswer next;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return closed_ || !pending_.empty(); });
        if (pending_.empty()) return;
        next = pending_.front();
      }
      fmt::print("{}\n", to_json_text(next()));
      std::fflush(stdout);
      const std::scoped_lock lock(mutex_);
      pending_.pop_front();  // only now: it counts as outstanding until it is written
      changed_.notify_all();
    }
  }

  const size_t capacity_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<PendingAnswer> pending_;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace

int report(const Error& error) {
  const bool has_flag = error.param.starts_with("--");
  const bool is_named = error.message.find(error.param) != std::string::npos;
  fmt::print(stderr, "tetrad: {}{}\n", has_flag && !is_named ? error.param + ": " : "",
             error.message);
  return has_flag && error.code == ErrorCode::invalid_argument ? kExitUsage : kExitFailed;
}

int terminal_columns() {
  winsize size{};
  const bool is_known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return is_known ? size.ws_col - 1 : 79;
}

Error at_flag(Error error, std::string_view flag) {
  Error named = std::move(error).in(flag);
  named.code = ErrorCode::invalid_argument;
  named.param = flag;
  return named;
}

int for_each_json_line_ahead(
    const std::string& path, size_t ahead,
    const std::function<Result<PendingAnswer>(const json::object&)>& begin) {
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) return report(Error{ErrorCode::io, "cannot open " + path, ""});
  }
  std::istream& input = path == "-" ? std::cin : file;
  const auto begin_line = [&begin](const std::string& text) -> Result<PendingAnswer> {
    TETRAD_ASSIGN(const json::object object, parse_line(text));
    return begin(object);
  };
  OrderedWriter writer(ahead);
  int status = kExitOk;
  int64_t number = 0;
  for (std::string line; std::getline(input, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Result<PendingAnswer> answer = begin_line(line);
    if (answer) {
      writer.add(std::move(*answer));
      continue;
    }
    writer.add([message = answer.error().message] { return json::object{{"error", message}}; });
    status = report(std::move(answer.error()).in(fmt::format("line {}", number)));
  }
  writer.close();
  return status;
}

int for_each_json_line(const std::string& path,
                       const std::function<Result<json::object>(const json::object&)>& handle) {
  return for_each_json_line_ahead(
      path, 1, [&handle](const json::object& line) -> Result<PendingAnswer> {
        TETRAD_ASSIGN(json::object answer, handle(line));
        return PendingAnswer([answer = std::move(answer)] { return answer; });
      });
}

void warn_of_unknown_fields(const json::object& object,
                            std::initializer_list<std::string_view> known) {
  for (const auto& field : object) {
    const std::string_view key = field.key();
    if (std::ranges::find(known, key) != known.end()) continue;
    log::warn("the unknown field \"{}\" is ignored; known are {}", key, fmt::join(known, ", "));
  }
}

Result<std::string> string_field(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return fail_param(key, "the field \"{}\" is missing", key);
  if (!value->is_string()) {
    return fail_param(key, "\"{}\" must be a string, not {}", key, json_kind_name(*value));
  }
  return std::string(value->get_string());
}

Result<json::array> array_field(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return fail_param(key, "the field \"{}\" is missing", key);
  if (!value->is_array()) {
    return fail_param(key, "\"{}\" must be an array, not {}", key, json_kind_name(*value));
  }
  return value->get_array();
}

Result<std::vector<int32_t>> ids_field(const json::object& object, std::string_view key) {
  TETRAD_ASSIGN(const json::array items, array_field(object, key));
  std::vector<int32_t> ids;
  for (const json::value& item : items) {
    json::error_code ec;
    const auto id = item.to_number<int32_t>(ec);
    if (ec || item.is_double()) {
      return fail_param(key, "\"{}\"[{}] is not a token id", key, ids.size());
    }
    ids.push_back(id);
  }
  return ids;
}

}  // namespace tetrad
