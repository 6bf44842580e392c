#pragma once

// HTTP/1.1 responses as bytes. Written by hand: a stream's chunk is one small string, and nothing
// here needs to know of sockets.

#include <memory>
#include <string>
#include <string_view>

#include "api/transport.h"
#include "http/outbox.h"

namespace tetrad::http {

/// What the request decides about the form of its response.
struct ResponseForm {
  bool http_1_0 = false;  // no chunks: a stream ends with its connection
  bool keep_alive = true;
  bool head_only = false;            // HEAD: the headers of a body that is not sent
  std::vector<api::Header> headers;  // that every answer to this request carries
};

/// A whole response.
std::string format_response(const api::JsonResponse& response, const ResponseForm& form);
/// The head of a stream of server-sent events.
std::string format_stream_head(const std::vector<api::Header>& headers, const ResponseForm& form);

/// Writes a response into an outbox. Destroyed without having completed it, it answers 500 or
/// breaks the stream off, so that no client waits for ever.
class OutboxWriter final : public api::ResponseWriter {
 public:
  OutboxWriter(std::shared_ptr<Outbox> outbox, ResponseForm form);
  ~OutboxWriter() override;
  OutboxWriter(const OutboxWriter&) = delete;
  OutboxWriter& operator=(const OutboxWriter&) = delete;

  void send(api::JsonResponse response) override;
  void start_events(std::vector<api::Header> headers) override;
  void send_event(std::string_view data, std::string_view name) override;
  void finish_events() override;
  void on_disconnect(std::function<void()> callback) override;
  void on_backlog(std::function<void(bool paused)> callback) override;

 private:
  enum class Progress { nothing, streaming, complete };

  std::shared_ptr<Outbox> outbox_;
  const ResponseForm form_;
  std::mutex mutex_;
  Progress progress_ = Progress::nothing;
};

}  // namespace tetrad::http
