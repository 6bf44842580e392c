#pragma once

#include <cstdint>

#include "api/api_keys.h"
#include "api/constraint_compiler.h"
#include "api/field_log.h"
#include "api/health_probe.h"
#include "api/service_options.h"
#include "chat/template.h"
#include "engine/engine.h"
#include "text/tokenizer.h"

namespace tetrad::api {

/// What all endpoints share. They may use it on any thread.
struct ServiceContext {
  Engine& engine;
  const Tokenizer& tokenizer;
  const ChatTemplate& chat_template;
  const ServiceOptions options;
  const ApiKeys api_keys;
  const int64_t started;  // seconds since 1970
  FieldLog field_log;
  HealthProbe health_probe;
  ConstraintCompiler constraints;
};

int64_t seconds_since_1970();

}  // namespace tetrad::api
