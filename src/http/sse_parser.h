#pragma once

// Server-sent events as they come from the wire (WHATWG HTML, section 9.2.6): of the fields only
// "data", which is all that completion APIs use.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tetrad::http {

/// Cuts a byte stream into events. What comes out does not depend on how the stream was cut.
class SseParser {
 public:
  static constexpr size_t kDefaultMaxEventBytes = 16 << 20;

  explicit SseParser(size_t max_event_bytes = kDefaultMaxEventBytes)
      : max_event_bytes_(max_event_bytes) {}

  /// Appends the data of every event that these bytes complete. An event larger than the limit is
  /// an error, and the parser is of no further use.
  Result<void> push(std::string_view bytes, std::vector<std::string>& events);

  /// Whether an event has begun and not ended: at the end of a stream, that it was cut off.
  bool is_inside_event() const { return has_data_ || !line_.empty(); }

 private:
  void end_line(std::vector<std::string>& events);

  size_t max_event_bytes_;
  std::string line_;  // the current one, without its end
  std::string data_;  // of the current event, lines joined by \n
  bool has_data_ = false;
  bool is_first_line_ = true;
  bool was_carriage_return_ = false;  // so that the \n of \r\n ends no second line
};

}  // namespace tetrad::http
