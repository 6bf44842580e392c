#include "api/health_probe.h"

#include <fmt/core.h>

#include <condition_variable>
#include <limits>
#include <optional>
#include <utility>

#include "api/error_response.h"

namespace tetrad::api {
namespace {

/// Waits for the first news of a generation.
class FirstEvent final : public EventSink {
 public:
  void on_event(GenerationEvent event) override {
    const std::scoped_lock lock(mutex_);
    if (!event_) event_ = std::move(event);
    arrived_.notify_all();
  }
  std::optional<GenerationEvent> wait(Seconds deadline) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, deadline, [this] { return event_.has_value(); });
    return event_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::optional<GenerationEvent> event_;
};

JsonResponse unhealthy(std::string_view why) {
  return error_response(503, fmt::format("no token was generated: {}", why), "unhealthy");
}

JsonResponse generate_one_token(Engine& engine, const Tokenizer& tokenizer, Seconds deadline) {
  const auto prompt = tokenizer.encode("1", SpecialTokens::ignore);
  if (!prompt) return unhealthy(prompt.error().message);
  auto sink = std::make_shared<FirstEvent>();
  const auto id = engine.submit({.prompt_ids = *prompt,
                                 .sampling = {.temperature = 0, .max_tokens = 1},
                                 .priority = std::numeric_limits<int64_t>::min(),
                                 .cache_salt = "health"},
                                sink);
  if (!id) return unhealthy(id.error().message);
  const std::optional<GenerationEvent> event = sink->wait(deadline);
  if (!event) {
    engine.cancel(*id);
    return unhealthy(
        fmt::format("the engine has not answered for {:.0f} seconds", deadline.count()));
  }
  if (event->error) return unhealthy("the engine failed; the server's log says more");
  if (event->finish_reason == FinishReason::cancelled) return unhealthy("the server is stopping");
  return {.status = 200, .body = R"({"status":"ok"})"};
}

}  // namespace

void HealthProbe::answer(Engine& engine, const Tokenizer& tokenizer,
                         std::shared_ptr<ResponseWriter> writer, Seconds deadline) {
  {
    const std::scoped_lock lock(mutex_);
    waiting_.push_back(std::move(writer));
    if (waiting_.size() > 1) return;
  }
  const JsonResponse response = generate_one_token(engine, tokenizer, deadline);
  std::vector<std::shared_ptr<ResponseWriter>> waiting;
  {
    const std::scoped_lock lock(mutex_);
    waiting.swap(waiting_);
  }
  for (const auto& one : waiting)
    one->send(response);
}

}  // namespace tetrad::api
