#include "api/field_log.h"

#include "base/json.h"
#include "base/log.h"

namespace tetrad::api {

bool FieldLog::is_new(const std::string& name) {
  constexpr size_t kMaxNames = 128;
  constexpr size_t kMaxNameBytes = 64;
  if (seen_.size() >= kMaxNames || name.size() > kMaxNameBytes) return false;
  return seen_.insert(name).second;
}

void FieldLog::note_unknown(const std::vector<std::string>& names) {
  const std::scoped_lock lock(mutex_);
  for (const std::string& name : names) {
    if (!is_new(name)) continue;
    // As JSON text: a name may hold line breaks that would forge log lines.
    log::warn("requests carry the unknown field {}; it is ignored",
              to_json_text(json::value(name)));
  }
}

void FieldLog::note(const CommonRequest& request) {
  note_unknown(request.unknown_fields);
  const std::scoped_lock lock(mutex_);
  for (const std::string& name : request.fields_without_effect) {
    if (!is_new(name)) continue;
    log::info("requests carry the field {}; it changes nothing here",
              to_json_text(json::value(name)));
  }
}

}  // namespace tetrad::api
