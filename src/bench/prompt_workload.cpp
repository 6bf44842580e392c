#include "bench/prompt_workload.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "bench/random.h"
#include "bench/words.h"

namespace tetrad::bench {
namespace {

// Streams of random numbers: prompts count upwards, prefixes lie far above them.
constexpr uint64_t kPrefixStream = uint64_t{1} << 62;

class SingleRequest final : public Session {
 public:
  explicit SingleRequest(ApiRequest request) : request_(std::move(request)) {}

  std::optional<ApiRequest> next(const Answer* /*previous*/) override {
    return std::exchange(request_, std::nullopt);
  }

 private:
  std::optional<ApiRequest> request_;
};

class PromptWorkload final : public Workload {
 public:
  PromptWorkload(RequestSettings settings, PromptShape shape, std::vector<TokenId> vocabulary)
      : settings_(std::move(settings)), shape_(shape), vocabulary_(std::move(vocabulary)) {}

  int64_t turns_per_session() const override { return 1; }

  std::unique_ptr<Session> session(uint64_t index) const override {
    Random prefix(settings_.seed, kPrefixStream + index % shape_.num_prefixes);
    Random own(settings_.seed, index);
    const int64_t input_len = vary(own, shape_.input_len);
    const int64_t output_len = vary(own, shape_.output_len);
    ApiRequest request{
        .target = "/v1/completions", .body = settings_.body(output_len), .max_tokens = output_len};
    request.body["prompt"] =
        vocabulary_.empty() ? words(prefix, own, input_len) : ids(prefix, own, input_len);
    return std::make_unique<SingleRequest>(std::move(request));
  }

 private:
  int64_t vary(Random& random, int64_t len) const {
    const auto spread =
        static_cast<int64_t>(std::floor(static_cast<double>(len) * shape_.range_ratio));
    return std::max<int64_t>(1, random.between(len - spread, len + spread));
  }

  json::value words(Random& prefix, Random& own, int64_t input_len) const {
    std::string text = random_words(prefix, shape_.prefix_len);
    if (!text.empty()) text += ' ';
    return json::value(text + random_words(own, input_len));
  }

  json::value ids(Random& prefix, Random& own, int64_t input_len) const {
    json::array ids;
    const auto append = [&](Random& random, int64_t count) {
      for (int64_t i = 0; i < count; ++i)
        ids.push_back(vocabulary_[random.between(0, std::ssize(vocabulary_) - 1)]);
    };
    ids.reserve(shape_.prefix_len + input_len);
    append(prefix, shape_.prefix_len);
    append(own, input_len);
    return ids;
  }

  const RequestSettings settings_;
  const PromptShape shape_;
  const std::vector<TokenId> vocabulary_;
};

}  // namespace

std::vector<TokenId> ordinary_tokens(const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view bytes = tokenizer.token_bytes(id);
    if (!bytes.empty() && !tokenizer.find_added_token(bytes)) ids.push_back(id);
  }
  return ids;
}

Result<std::unique_ptr<Workload>> make_prompt_workload(RequestSettings settings, PromptShape shape,
                                                       std::vector<TokenId> vocabulary) {
  if (shape.prefix_len < 0 || shape.input_len < 1 || shape.output_len < 1 ||
      shape.num_prefixes < 1) {
    return fail(ErrorCode::invalid_argument,
                "a prompt needs an input and an output of at least one token, a prefix of none or "
                "more, and at least one prefix");
  }
  if (!(shape.range_ratio >= 0 && shape.range_ratio < 1)) {
    return fail_param("--random-range-ratio",
                      "--random-range-ratio must be at least 0 and below 1");
  }
  return std::make_unique<PromptWorkload>(std::move(settings), shape, std::move(vocabulary));
}

}  // namespace tetrad::bench
