#include "company.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <stdexcept>
#include <thread>

#include "base/json.h"
#include "base/mapped_file.h"
#include "gpu/emulated_device.h"
#include "kernels/gpu/emulated_kernels.h"
#include "kernels/gpu/gpu_code.h"
#include "model/cpu_model.h"
#include "model/gpu_device_model.h"
#include "model/kv_cache_format.h"

namespace tetrad::differential {
namespace {

/// More than any request here has tokens.
constexpr int64_t kLongest = 512;

template <class T>
T value_or_throw(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(result).value();
}

std::unique_ptr<DeviceModel> load_on_gpu(const Checkpoint& checkpoint, const std::string& device) {
  auto opened =
      value_or_throw(device == "emulated-nvidia"
                         ? gpu::open_emulated_device("nvidia", gpu::emulated_nvidia_kernels())
                     : device == "emulated-gfx12"
                         ? gpu::open_emulated_device("gfx12", gpu::emulated_gfx12_kernels())
                         : gpu::open_gpu());
  const MiniMaxM2Weights weights = MiniMaxM2Weights::load(checkpoint).value();
  const gpu::GpuKernels kernels = value_or_throw(gpu::GpuKernels::create(*opened));
  return value_or_throw(GpuDeviceModel::load(
      checkpoint.config(), weights,
      resolve_kv_scales(weights.kv_scales, DType::f8_e4m3, std::nullopt).value(), std::move(opened),
      kernels));
}

class Listener final : public EventSink {
 public:
  explicit Listener(Answer& answer) : answer_(answer) {}
  void on_event(GenerationEvent event) override {
    answer_.ids.insert(answer_.ids.end(), event.token_ids.begin(), event.token_ids.end());
    answer_.text += event.text;
    for (const TokenLogprobs& logprobs : event.logprobs)
      answer_.logprobs.push_back(logprobs.token.logprob);
    answer_.finish_reason = event.finish_reason;
  }

 private:
  Answer& answer_;
};

class Counter final : public EngineObserver {
 public:
  explicit Counter(Counts& counts) : counts_(counts) {}
  void on_step(const StepReport& report) override {
    ++counts_.steps;
    counts_.preemptions += report.num_preemptions;
    counts_.cached_tokens += report.prefix_cache_hits;
    counts_.draft_tokens += report.num_draft_tokens;
  }
  void on_draft(int64_t, int64_t accepted) override { counts_.accepted_drafts += accepted; }

 private:
  Counts& counts_;
};

/// A core with its model and cache.
class Engine {
 public:
  Engine(DeviceModel& model, const Tokenizer& tokenizer, const SchedulerOptions& options,
         Counts& counts)
      : tokenizer_(tokenizer),
        counter_(counts),
        model_(
            value_or_throw(model.start({.max_model_len = kLongest,
                                        .max_num_seqs = options.max_num_seqs,
                                        .max_num_batched_tokens = options.max_num_batched_tokens},
                                       {.bytes = options.num_kv_blocks * model.kv_block_bytes()}))),
        core_(options, PrefixIndex::Key{}, {}, *model_.steps, clock_, counter_) {}

  void add(const GenerationRequest& request, Answer& answer) {
    core_.add(std::make_unique<Sequence>(++last_id_, request, std::make_shared<Listener>(answer),
                                         tokenizer_, clock_.now()));
  }
  void step() { core_.step(); }
  void run() {
    while (!core_.is_idle())
      core_.step();
  }

 private:
  const Tokenizer& tokenizer_;
  Counter counter_;
  SteadyClock clock_;
  StartedModel model_;
  EngineCore core_;
  RequestId last_id_ = 0;
};

/// Draws requests; prompts are pieces of what the model was trained on, and now and then noise.
class Requests {
 public:
  Requests(const std::filesystem::path& prompts, uint64_t seed, int64_t vocab_size)
      : random_(seed), vocab_size_(vocab_size) {
    const auto file = parse_json(read_text_file(prompts).value()).value();
    for (const json::value& prompt : file.as_array())
      texts_.push_back(json::value_to<std::vector<TokenId>>(prompt.at("ids")));
  }

  GenerationRequest next() {
    GenerationRequest request;
    request.prompt_ids = prompt();
    SamplingParams& sampling = request.sampling;
    sampling.max_tokens = draw(1, 24);
    sampling.seed = random_();
    sampling.ignore_eos = one_in(3);
    sampling.temperature = one_in(2) ? 0.0f : static_cast<float>(draw(1, 15)) / 10;
    if (one_in(3)) sampling.top_k = draw(1, 40);
    if (one_in(3)) sampling.top_p = static_cast<float>(draw(30, 99)) / 100;
    if (one_in(6)) sampling.min_p = 0.05f;
    if (one_in(4)) sampling.repetition_penalty = 1.3f;
    if (one_in(4)) sampling.frequency_penalty = 0.5f;
    if (one_in(4)) sampling.presence_penalty = 0.7f;
    if (one_in(6)) sampling.logit_bias = {{token(), 2.5f}, {token(), -100.0f}};
    if (one_in(6)) sampling.min_tokens = std::min<int64_t>(sampling.max_tokens, 5);
    if (one_in(4)) sampling.stop = {"e ", "the"};
    if (one_in(3)) sampling.logprobs = 3;
    if (one_in(8)) sampling.prompt_logprobs = 1;
    if (one_in(4)) request.priority = draw(-1, 1);
    if (one_in(8)) request.cache_salt = "another tenant";
    return request;
  }

  std::vector<TokenId> longest_text() const {
    return *std::ranges::max_element(texts_, {}, [](const auto& text) { return text.size(); });
  }

 private:
  int64_t draw(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  bool one_in(int64_t n) { return draw(1, n) == 1; }
  TokenId token() { return static_cast<TokenId>(draw(0, vocab_size_ - 1)); }

  std::vector<TokenId> prompt() {
    std::vector<TokenId> ids = texts_[static_cast<size_t>(draw(0, std::ssize(texts_) - 1))];
    ids.resize(std::min(ids.size(), static_cast<size_t>(draw(1, 150))));
    const int64_t noise = one_in(2) ? draw(0, 12) : 0;
    for (int64_t i = 0; i < noise; ++i)
      ids.push_back(token());
    if (one_in(4) && ids.size() < 80) ids.insert(ids.end(), ids.begin(), ids.end());
    return ids;
  }

  std::mt19937_64 random_;
  int64_t vocab_size_;
  std::vector<std::vector<TokenId>> texts_;
};

}  // namespace

Bench::Bench(const BenchOptions& options)
    : prompts_(options.root / "tests/golden/prompt_ids.json") {
  const std::filesystem::path folder = options.root / "models/tetrad-demo-mxfp4_16";
  tokenizer_ =
      std::make_unique<Tokenizer>(value_or_throw(Tokenizer::from_file(folder / "tokenizer.json")));
  auto checkpoint = std::make_shared<const Checkpoint>(value_or_throw(Checkpoint::open(folder)));
  if (options.device != "cpu") {
    model_ = load_on_gpu(*checkpoint, options.device);
    return;
  }
  const auto threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  cpu_model_ = MiniMaxM2::load(std::move(checkpoint),
                               make_cpu_kernels(std::make_shared<ThreadPool>(threads)).value())
                   .value();
  model_ = std::make_unique<CpuModel>(*cpu_model_, KvCacheFormat{DType::bf16, {}});
}

Bench::~Bench() = default;

std::vector<GenerationRequest> Bench::random_requests(int64_t count, uint64_t seed) const {
  Requests draw(prompts_, seed, model_->config().vocab_size);
  std::vector<GenerationRequest> requests;
  while (std::ssize(requests) < count)
    requests.push_back(draw.next());
  return requests;
}

std::vector<Answer> Bench::answers_alone(const std::vector<GenerationRequest>& requests) {
  std::vector<Answer> answers(requests.size());
  Counts counts;
  Engine engine(*model_, *tokenizer_,
                {.max_num_seqs = 1, .num_kv_blocks = 64, .enable_prefix_caching = false}, counts);
  for (size_t i = 0; i < requests.size(); ++i) {
    engine.add(requests[i], answers[i]);
    engine.run();
  }
  return answers;
}

std::vector<Answer> Bench::answers_together(const std::vector<GenerationRequest>& requests,
                                            const SchedulerOptions& options, Counts& counts) {
  std::vector<Answer> answers(requests.size());
  Engine engine(*model_, *tokenizer_, options, counts);
  // Not all at the first step: company comes and goes.
  for (size_t i = 0; i < requests.size(); ++i) {
    engine.add(requests[i], answers[i]);
    if (i % 3 == 2) engine.step();
  }
  engine.run();
  return answers;
}

int64_t Bench::check_every_split_point() {
  GenerationRequest request;
  request.prompt_ids = Requests(prompts_, 1, model_->config().vocab_size).longest_text();
  request.prompt_ids.resize(std::min<size_t>(request.prompt_ids.size(), 70));
  request.sampling = {.temperature = 0, .seed = 1, .max_tokens = 20, .ignore_eos = true};
  const std::vector<Answer> expected = answers_alone({request});
  const int64_t length = std::ssize(request.prompt_ids);
  for (int64_t split = 1; split <= length; ++split) {
    Counts counts;
    Engine engine(*model_, *tokenizer_, {.num_kv_blocks = 64}, counts);
    GenerationRequest beginning = request;
    beginning.prompt_ids.resize(static_cast<size_t>(split));
    std::vector<Answer> answers(2);
    engine.add(beginning, answers[0]);
    if (split % 2 == 0) engine.run();  // finished before, or still running
    engine.step();
    engine.add(request, answers[1]);
    engine.run();
    compare(fmt::format("warm up to token {}", split).c_str(), {request}, expected, {answers[1]});
    // What the first answer added to the beginning may happen to be the prompt's own words.
    const int64_t least = std::min(split, length - 1) / kKvBlockSize * kKvBlockSize;
    if (counts.cached_tokens < least) {
      throw std::logic_error(fmt::format("warm up to token {}: only {} tokens came from the cache",
                                         split, counts.cached_tokens));
    }
  }
  return length;
}

void compare(const char* name, const std::vector<GenerationRequest>& requests,
             const std::vector<Answer>& expected, const std::vector<Answer>& answers) {
  for (size_t i = 0; i < requests.size(); ++i) {
    if (answers[i] == expected[i]) continue;
    throw std::logic_error(fmt::format(
        "{}: request {} ({} prompt tokens, temperature {}):\n  alone [{}] \"{}\"\n  here  [{}] "
        "\"{}\"",
        name, i, requests[i].prompt_ids.size(), requests[i].sampling.temperature,
        fmt::join(expected[i].ids, ","), expected[i].text, fmt::join(answers[i].ids, ","),
        answers[i].text));
  }
}

}  // namespace tetrad::differential
