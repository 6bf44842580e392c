#include "scenario.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/core.h"
#include "fake_model.h"

namespace tetrad::simulator {
namespace {

template <class... Args>
void require(bool condition, fmt::format_string<Args...> text, Args&&... args) {
  if (!condition) throw std::logic_error(fmt::format(text, std::forward<Args>(args)...));
}

class VirtualClock final : public Clock {
 public:
  Seconds now() const override { return now_; }
  void advance(Seconds by) { now_ += by; }

 private:
  Seconds now_{0};
};

/// What one request asked for and was told.
struct Request {
  GenerationRequest asked;
  std::vector<TokenId> answer;
  std::optional<FinishReason> end;
  bool cancelled = false;
  bool paused = false;
  int64_t unread = 0;         // tokens its consumer has not taken yet
  int64_t waiting_since = 0;  // step
};

class Sink final : public EventSink {
 public:
  explicit Sink(Request& request) : request_(request) {}
  void on_event(GenerationEvent event) override {
    require(!request_.end, "an event after the last one");
    require(!request_.paused || event.token_ids.empty(), "tokens for a paused request");
    request_.answer.insert(request_.answer.end(), event.token_ids.begin(), event.token_ids.end());
    request_.unread += static_cast<int64_t>(event.token_ids.size());
    request_.end = event.finish_reason;
    require(event.finish_reason != FinishReason::error || event.error.has_value(),
            "an error without words");
  }

 private:
  Request& request_;
};

class Scenario final : public EngineObserver {
 public:
  Scenario(uint64_t seed, const Tokenizer& tokenizer)
      : random_(seed),
        tokenizer_(tokenizer),
        options_(draw_options()),
        model_(options_.num_kv_blocks),
        core_(options_, PrefixIndex::Key{}, {0}, model_, clock_, *this) {
    max_len_ = std::min<int64_t>(options_.num_kv_blocks * kKvBlockSize, 160);
    load_ = draw(1, 40);
    trouble_ = draw(0, 3) == 0 ? 0 : draw(20, 400);
    pause_at_ = draw(0, 2) == 0 ? 0 : draw(1, 50);
    const int64_t num_beginnings = draw(1, 4);
    for (int64_t i = 0; i < num_beginnings; ++i)
      beginnings_.push_back(random_tokens(draw(1, 100)));
  }

  Totals run(int64_t num_steps) {
    while (totals_.steps < num_steps) {
      if (draw(0, 40) < load_ && core_.scheduler().num_waiting() < 40) submit();
      make_trouble();
      step();
    }
    for (auto& [id, request] : requests_)
      set_paused(id, request, false);
    while (!core_.is_idle())
      step();
    for (auto& [id, request] : requests_)
      finish(id, request);
    require(core_.scheduler().blocks().num_unused() == options_.num_kv_blocks,
            "blocks are in use after the last request");
    return totals_;
  }

  void on_step(const StepReport& report) override {
    require(report.num_batched_tokens <= options_.max_num_batched_tokens, "the step is too large");
    totals_.preemptions += report.num_preemptions;
  }
  void on_draft(int64_t, int64_t accepted) override { totals_.accepted_drafts += accepted; }
  void on_finish(const RequestReport& report) override {
    totals_.cached_tokens += report.num_cached_tokens;
    require(report.arrived <= report.admitted && report.admitted <= report.first_token &&
                report.first_token <= report.last_token && report.last_token <= report.finished,
            "the moments of a request are out of order");
  }

 private:
  int64_t draw(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  std::vector<TokenId> random_tokens(int64_t count) {
    std::vector<TokenId> tokens;
    for (int64_t i = 0; i < count; ++i)
      tokens.push_back(static_cast<TokenId>(draw(1, FakeModel::kVocabSize - 1)));
    return tokens;
  }

  SchedulerOptions draw_options() {
    SchedulerOptions options;
    options.max_num_seqs = draw(1, 12);
    options.max_num_batched_tokens = options.max_num_seqs + draw(0, 3) * draw(0, 60);
    options.num_kv_blocks = draw(0, 1) == 0 ? draw(2, 12) : draw(12, 80);
    options.enable_prefix_caching = draw(0, 3) > 0;
    if (draw(0, 1) == 0) options.ngram.num_speculative_tokens = draw(1, 8);
    return options;
  }

  void submit() {
    GenerationRequest asked;
    asked.prompt_ids = beginnings_[static_cast<size_t>(draw(0, std::ssize(beginnings_) - 1))];
    const std::vector<TokenId> rest = random_tokens(draw(0, 30));
    asked.prompt_ids.insert(asked.prompt_ids.end(), rest.begin(), rest.end());
    asked.prompt_ids.resize(
        static_cast<size_t>(draw(1, std::min(std::ssize(asked.prompt_ids), max_len_ - 1))));
    asked.sampling.max_tokens = draw(1, max_len_ - std::ssize(asked.prompt_ids));
    asked.sampling.temperature = draw(0, 1) == 0 ? 0.0f : 0.7f;
    asked.sampling.seed = static_cast<uint64_t>(random_());
    asked.sampling.ignore_eos = draw(0, 1) == 0;
    asked.priority = draw(0, 4) == 0 ? draw(-2, 2) : 0;
    asked.cache_salt = draw(0, 5) == 0 ? "another tenant" : "";
    const RequestId id = ++last_id_;
    Request& request = requests_[id];
    request = {.asked = asked, .waiting_since = totals_.steps};
    ++totals_.requests;
    core_.add(std::make_unique<Sequence>(id, std::move(asked), std::make_shared<Sink>(request),
                                         tokenizer_, clock_.now()));
  }

  bool one_in(int64_t n) { return n > 0 && draw(1, n) == 1; }

  void make_trouble() {
    if (one_in(trouble_)) model_.fail_next(draw(1, 2));
    if (one_in(trouble_)) model_.spoil_next();
    if (one_in(trouble_)) cancel(last_id_ - static_cast<RequestId>(draw(0, 20)));
    if (one_in(trouble_)) core_.set_paused(last_id_ + 1, true);  // unknown
    // Consumers read in bursts; who lets too much pile up is paused or cut off, as the HTTP server
    // does.
    for (auto& [id, request] : requests_) {
      if (one_in(16)) {
        request.unread = 0;
        set_paused(id, request, false);
      }
      if (pause_at_ > 0 && request.unread > pause_at_) set_paused(id, request, true);
      if (request.unread > 60 && trouble_ > 0) cancel(id);
    }
  }

  void set_paused(RequestId id, Request& request, bool paused) {
    if (request.paused == paused) return;
    core_.set_paused(id, paused);
    request.paused = paused;
    request.waiting_since = totals_.steps;
    totals_.pauses += paused ? 1 : 0;
    check();
  }

  void cancel(RequestId id) {
    const auto request = requests_.find(id);
    core_.cancel(id);  // an unknown one too
    if (request != requests_.end() && !request->second.cancelled) {
      request->second.cancelled = true;
      ++totals_.cancelled;
      require(request->second.end.has_value(), "a cancelled request was not told of its end");
    }
    check();
  }

  void step() {
    clock_.advance(Seconds(0.001));
    core_.step();
    ++totals_.steps;
    check();
    std::erase_if(requests_, [&](auto& entry) {
      if (!entry.second.end) return false;
      finish(entry.first, entry.second);
      return true;
    });
  }

  /// Every block is either unused or in exactly as many tables as it has users.
  void check() {
    const Scheduler& scheduler = core_.scheduler();
    const BlockPool& blocks = scheduler.blocks();
    users_.assign(static_cast<size_t>(options_.num_kv_blocks), 0);
    for (const auto& sequence : scheduler.running()) {
      for (const int32_t block : sequence->block_table)
        ++users_[static_cast<size_t>(block)];
      require(std::ssize(sequence->block_table) * kKvBlockSize >= sequence->num_computed_tokens,
              "computed tokens without a block");
      check_wait(*sequence, true);
    }
    for (const auto& sequence : scheduler.waiting()) {
      require(sequence->block_table.empty(), "a waiting sequence holds blocks");
      check_wait(*sequence, false);
    }
    int64_t num_unused = 0;
    for (int32_t block = 0; block < options_.num_kv_blocks; ++block) {
      const int64_t users = users_[static_cast<size_t>(block)];
      require(users == blocks.num_users(block), "block {} has {} users, {} are counted", block,
              users, blocks.num_users(block));
      num_unused += users == 0 ? 1 : 0;
    }
    require(num_unused == blocks.num_unused(), "{} blocks are unused, {} are counted", num_unused,
            blocks.num_unused());
    require(scheduler.num_running() <= options_.max_num_seqs, "too many sequences run");
  }

  /// The highest rank gets on in every step and ends after max_len_ of them; so nobody waits longer
  /// than that for each of those who may come before: the ones there at his arrival, the
  /// overtakers, and those whose places he needs.
  void check_wait(const Sequence& sequence, bool running) {
    Request& request = requests_.at(sequence.id);
    const int64_t waited = totals_.steps - request.waiting_since;
    require(sequence.paused == request.paused, "request {} is not as paused as asked", sequence.id);
    if (running || sequence.paused) request.waiting_since = totals_.steps;
    totals_.longest_wait = std::max(totals_.longest_wait, waited);
    const int64_t before = 40 + Scheduler::kMaxOvertakes + options_.max_num_seqs;
    require(waited <= before * max_len_, "request {} has waited for {} steps", sequence.id, waited);
  }

  void finish(RequestId id, const Request& request) {
    require(request.end.has_value(), "request {} never ended", id);
    if (*request.end == FinishReason::error) ++totals_.failed;
    totals_.tokens += std::ssize(request.answer);
    check_answer(id, request);
  }

  /// Computes the answer again, alone and from nothing but its tokens.
  void check_answer(RequestId id, const Request& request) {
    const auto& [asked, answer, end, cancelled, paused, unread, since] = request;
    std::vector<TokenId> tokens = asked.prompt_ids;
    const auto num_prompt_tokens = std::ssize(tokens);
    uint64_t fingerprint = 0;
    for (const TokenId token : tokens)
      fingerprint = FakeModel::fingerprint(fingerprint, token);
    std::vector<float> logits(static_cast<size_t>(FakeModel::kVocabSize));
    bool ended = false;
    for (const TokenId token : answer) {
      require(!ended, "request {} went on after its end token", id);
      FakeModel::logits(fingerprint, tokens.back(), logits);
      const auto expected = sampler_.sample(logits, asked.sampling, tokens, num_prompt_tokens);
      require(expected->id == token, "request {}: token {} is {}, alone it is {}", id,
              std::ssize(tokens) - num_prompt_tokens, token, expected->id);
      tokens.push_back(token);
      fingerprint = FakeModel::fingerprint(fingerprint, token);
      ended = token == 0 && !asked.sampling.ignore_eos;
    }
    const bool full = std::ssize(answer) == asked.sampling.max_tokens;
    require(end != FinishReason::stop || ended, "request {} stopped without an end token", id);
    require(end != FinishReason::length || (full && !ended), "request {} is too short", id);
    require(end != FinishReason::cancelled || cancelled, "request {} was never cancelled", id);
  }

  std::mt19937_64 random_;
  const Tokenizer& tokenizer_;
  VirtualClock clock_;
  const SchedulerOptions options_;
  FakeModel model_;
  EngineCore core_;
  Sampler sampler_;
  std::vector<std::vector<TokenId>> beginnings_;
  int64_t max_len_ = 0;
  int64_t load_ = 0;
  int64_t trouble_ = 0;
  int64_t pause_at_ = 0;                   // unread tokens; 0: nobody is paused
  std::map<RequestId, Request> requests_;  // a map: sinks keep references
  RequestId last_id_ = 0;
  std::vector<int64_t> users_;
  Totals totals_;
};

}  // namespace

Totals& Totals::operator+=(const Totals& other) {
  steps += other.steps;
  requests += other.requests;
  tokens += other.tokens;
  preemptions += other.preemptions;
  cancelled += other.cancelled;
  pauses += other.pauses;
  failed += other.failed;
  cached_tokens += other.cached_tokens;
  accepted_drafts += other.accepted_drafts;
  longest_wait = std::max(longest_wait, other.longest_wait);
  return *this;
}

Totals run_scenario(uint64_t seed, int64_t num_steps, const Tokenizer& tokenizer) {
  return Scenario(seed, tokenizer).run(num_steps);
}

}  // namespace tetrad::simulator
