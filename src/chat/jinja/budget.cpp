#include "chat/jinja/budget.h"

namespace tetrad::jinja {

Result<void> Budget::out_of_steps() {
  steps_left_ = 0;
  return fail(ErrorCode::resource_exhausted, "the template takes more steps than are allowed");
}

Result<void> Budget::string_too_long() const {
  return fail(ErrorCode::resource_exhausted, "the text would become longer than {} bytes",
              max_string_bytes_);
}

}  // namespace tetrad::jinja
