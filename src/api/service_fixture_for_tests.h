#pragma once

// For tests only: the service over an engine that computes the model that comes with the
// repository.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "api/event_writer_for_tests.h"
#include "api/service.h"
#include "engine/bundled_engine.h"

namespace tetrad::api {

inline constexpr std::string_view kQuestion =
    R"("messages": [{"role": "user", "content": "Hello"}])";

inline const ChatTemplate& bundled_template() {
  static const ChatTemplate chat_template = ChatTemplate::from_folder(bundled_model()).value();
  return chat_template;
}

class ServiceTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    running_ = std::make_unique<BundledEngine>(
        EngineOptions{.max_model_len = 512, .kv_memory = {.bytes = 8 << 20}});
  }
  static void TearDownTestSuite() { running_.reset(); }

  static ServiceOptions options() {
    ServiceOptions options;
    options.model_names = {"demo", "other-name"};
    options.version = {{"version", "1"}};
    options.system_fingerprint = "fp";
    return options;
  }

  static RequestHead head(std::string_view method, std::string_view target) {
    return {.method = std::string(method),
            .target = std::string(target),
            .content_type = "application/json"};
  }
  std::shared_ptr<EventWriter> send(std::string_view method, std::string_view target,
                                    std::string body = "") {
    auto writer = std::make_shared<EventWriter>();
    service_->handle({.head = head(method, target), .body = std::move(body)}, writer);
    writer->wait();
    return writer;
  }
  std::shared_ptr<EventWriter> post(std::string_view target, std::string body) {
    return send("POST", target, std::move(body));
  }
  void restart(ServiceOptions with) {
    service_ = std::make_unique<Service>(running_->engine(), bundled_tokenizer(),
                                         bundled_template(), std::move(with));
  }
  void SetUp() override { restart(options()); }

  static inline std::unique_ptr<BundledEngine> running_;
  std::unique_ptr<Service> service_;
};

inline std::string header_of(const std::vector<Header>& headers, std::string_view name) {
  for (const Header& header : headers) {
    if (header.name == name) return header.value;
  }
  return "";
}

}  // namespace tetrad::api
