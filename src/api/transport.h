#pragma once

// The seam between the API and whatever carries it. src/http implements ResponseWriter on sockets;
// nothing in src/api knows of one.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tetrad::api {

/// What of an HTTP request's head the API looks at.
struct RequestHead {
  std::string method;         // "GET", …
  std::string target;         // path and query, still percent-encoded
  std::string authorization;  // header values, "" where the header is absent
  std::string content_type;
  std::string api_key;            // "x-api-key", where Anthropic's clients put it
  std::string origin;             // of the web page that asks
  std::string requested_method;   // "access-control-request-method", in a preflight
  std::string requested_headers;  // "access-control-request-headers"
};

struct HttpRequest {
  RequestHead head;
  std::string body;
};

struct Header {
  std::string name;
  std::string value;
};

/// A response whose body is one JSON text, or what content_type says instead.
struct JsonResponse {
  int status = 200;
  std::string body;
  std::vector<Header> headers;  // besides those the transport writes itself
  std::string content_type = "application/json";
};

/// Where the answer to one request goes. All functions may be called from any thread and never
/// wait for the client. Exactly one of send() and start_events() is called, once. A client that is
/// gone, or so slow that its backlog is full, makes every further call do nothing.
class ResponseWriter {
 public:
  virtual ~ResponseWriter() = default;

  virtual void send(JsonResponse response) = 0;

  /// Begins a stream of server-sent events.
  virtual void start_events(std::vector<Header> headers) = 0;
  /// One event, of the type `name` ("": of none). Neither holds line breaks.
  virtual void send_event(std::string_view data, std::string_view name) = 0;
  void send_event(std::string_view data) { send_event(data, ""); }
  virtual void finish_events() = 0;

  /// `callback` runs once if the client goes away before the response is complete, on any thread;
  /// at once if it has gone already.
  virtual void on_disconnect(std::function<void()> callback) = 0;

  /// `callback` runs with true when the client has left so much of a stream unread that its
  /// producer should pause, and with false when it may go on; the two alternate. It is called with
  /// a lock held, on any thread: it must only hand over. For writers that know of no backlog there
  /// is nothing to do.
  // NOLINTNEXTLINE(performance-unnecessary-value-param): overrides keep it
  virtual void on_backlog(std::function<void(bool paused)> /*callback*/) {}
};

/// Answers requests. Thread-safe.
class RequestHandler {
 public:
  virtual ~RequestHandler() = default;

  /// What can be refused by the head alone (routes, methods, keys), so that nobody's body is read
  /// before they are known. Cheap.
  virtual std::optional<JsonResponse> refuse(const RequestHead& head) const = 0;

  /// Answers through `writer`, now or later. The request is one that refuse() let pass.
  virtual void handle(HttpRequest request, std::shared_ptr<ResponseWriter> writer) = 0;
};

}  // namespace tetrad::api
