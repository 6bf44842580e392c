#pragma once

#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "api/common_request.h"

namespace tetrad::api {

/// Names a bounded number of request fields that did nothing in the log, each once. Thread-safe.
class FieldLog {
 public:
  void note(const CommonRequest& request);
  void note_unknown(const std::vector<std::string>& names);

 private:
  bool is_new(const std::string& name);

  std::mutex mutex_;
  std::set<std::string> seen_;
};

}  // namespace tetrad::api
