#include "engine/status_log.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "base/percent.h"

namespace tetrad {
namespace {

double rate(int64_t count, Seconds time) {
  return time.count() > 0 ? static_cast<double>(count) / time.count() : 0.0;
}

}  // namespace

StatusLog::StatusLog(const Clock& clock, std::function<void(const std::string&)> write)
    : clock_(clock), write_(std::move(write)), last_line_(clock.now() - kInterval) {}

void StatusLog::on_step(const StepReport& report) {
  const Seconds now = clock_.now();
  if (window_.num_steps == 0) window_.began = now - report.duration;
  add(report);
  // A burst shorter than the interval has its line at its end, since no step comes after it; many
  // such bursts still share one line an interval.
  const bool last_for_now = report.num_running == 0 && report.num_waiting == 0;
  const Seconds since = last_for_now ? last_line_ : window_.began;
  if (now - since < kInterval) return;
  write_(line(report));
  window_ = {};
  last_line_ = now;
}

void StatusLog::on_draft(int64_t num_draft_tokens, int64_t num_accepted) {
  window_.num_draft_tokens += num_draft_tokens;
  window_.num_accepted += num_accepted;
}

void StatusLog::add(const StepReport& report) {
  ++window_.num_steps;
  window_.busy += report.duration;
  window_.num_prompt_tokens += report.num_prompt_tokens;
  window_.num_generated_tokens += report.num_generated_tokens;
  window_.num_preemptions += report.num_preemptions;
  window_.prefix_cache_queries += report.prefix_cache_queries;
  window_.prefix_cache_hits += report.prefix_cache_hits;
}

std::string StatusLog::line(const StepReport& last) const {
  std::string text = fmt::format(
      "running {}, waiting {}, generation {:.1f} tok/s, prefill {:.1f} tok/s, KV cache {:.1f} % "
      "used",
      last.num_running, last.num_waiting, rate(window_.num_generated_tokens, window_.busy),
      rate(window_.num_prompt_tokens, window_.busy),
      percent(last.num_kv_blocks - last.num_free_kv_blocks, last.num_kv_blocks));
  const auto out = std::back_inserter(text);
  if (window_.prefix_cache_queries > 0) {
    fmt::format_to(out, ", prefix hits {:.1f} %",
                   percent(window_.prefix_cache_hits, window_.prefix_cache_queries));
  }
  if (window_.num_draft_tokens > 0) {
    fmt::format_to(out, ", drafts right {:.1f} %",
                   percent(window_.num_accepted, window_.num_draft_tokens));
  }
  if (window_.num_preemptions > 0) {
    fmt::format_to(out, ", preemptions {}", window_.num_preemptions);
  }
  return text;
}

}  // namespace tetrad
