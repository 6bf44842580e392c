#include "http/response_writer.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <utility>

#include "api/error_response.h"

namespace tetrad::http {
namespace {

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    default:
      return "";  // allowed to be empty
  }
}

std::string format_head(int status, std::string_view content_type,
                        const std::vector<api::Header>& headers, const ResponseForm& form) {
  std::string head;
  fmt::format_to(std::back_inserter(head),
                 "HTTP/1.1 {} {}\r\n"
                 "Date: {:%a, %d %b %Y %H:%M:%S} GMT\r\n"
                 "Server: tetrad/{}\r\n"
                 "X-Content-Type-Options: nosniff\r\n"
                 "Connection: {}\r\n",
                 status, reason_phrase(status), fmt::gmtime(std::time(nullptr)), TETRAD_VERSION,
                 form.keep_alive ? "keep-alive" : "close");
  if (!content_type.empty()) head += fmt::format("Content-Type: {}\r\n", content_type);
  for (const auto* list : {&headers, &form.headers}) {
    for (const api::Header& header : *list)
      head += fmt::format("{}: {}\r\n", header.name, header.value);
  }
  return head;
}

}  // namespace

std::string format_response(const api::JsonResponse& response, const ResponseForm& form) {
  std::string_view content_type;
  if (!response.body.empty()) content_type = response.content_type;
  std::string bytes = format_head(response.status, content_type, response.headers, form);
  if (response.status != 204) bytes += fmt::format("Content-Length: {}\r\n", response.body.size());
  bytes += "\r\n";
  if (!form.head_only) bytes += response.body;
  return bytes;
}

std::string format_stream_head(const std::vector<api::Header>& headers, const ResponseForm& form) {
  std::string bytes = format_head(200, "text/event-stream", headers, form);
  // The second is nginx's: it would otherwise collect events before it passes them on.
  bytes += "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n";
  if (!form.http_1_0) bytes += "Transfer-Encoding: chunked\r\n";
  bytes += "\r\n";
  return bytes;
}

OutboxWriter::OutboxWriter(std::shared_ptr<Outbox> outbox, ResponseForm form)
    : outbox_(std::move(outbox)), form_(std::move(form)) {}

OutboxWriter::~OutboxWriter() {
  if (progress_ == Progress::nothing) {
    OutboxWriter::send(
        api::error_response(500, "the request was dropped; the server's log says more", ""));
  } else if (progress_ == Progress::streaming) {
    outbox_->finish(/*intact=*/false);
  }
}

void OutboxWriter::send(api::JsonResponse response) {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(progress_, Progress::complete) != Progress::nothing) return;
  outbox_->push(format_response(response, form_), Outbox::Bounded::no);
  outbox_->finish(/*intact=*/true);
}

void OutboxWriter::start_events(std::vector<api::Header> headers) {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(progress_, Progress::streaming) != Progress::nothing) return;
  outbox_->push(format_stream_head(headers, form_), Outbox::Bounded::no);
}

void OutboxWriter::send_event(std::string_view data, std::string_view name) {
  constexpr std::string_view kName = "event: ";
  constexpr std::string_view kData = "data: ";
  const size_t name_size = name.empty() ? 0 : kName.size() + name.size() + 1;
  const std::scoped_lock lock(mutex_);
  if (progress_ != Progress::streaming) return;
  std::string bytes;
  bytes.reserve(name_size + data.size() + 32);
  if (!form_.http_1_0) {
    fmt::format_to(std::back_inserter(bytes), "{:x}\r\n",
                   name_size + kData.size() + data.size() + 2);
  }
  if (!name.empty()) bytes.append(kName).append(name).append("\n");
  bytes.append(kData).append(data).append("\n\n");
  if (!form_.http_1_0) bytes += "\r\n";
  outbox_->push(bytes, Outbox::Bounded::yes);
}

void OutboxWriter::finish_events() {
  const std::scoped_lock lock(mutex_);
  if (progress_ != Progress::streaming) return;
  progress_ = Progress::complete;
  if (!form_.http_1_0) outbox_->push("0\r\n\r\n", Outbox::Bounded::no);
  outbox_->finish(/*intact=*/true);
}

void OutboxWriter::on_disconnect(std::function<void()> callback) {
  outbox_->on_disconnect(std::move(callback));
}

void OutboxWriter::on_backlog(std::function<void(bool paused)> callback) {
  outbox_->on_backlog(std::move(callback));
}

}  // namespace tetrad::http
