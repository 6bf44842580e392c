#include "quant/calibration_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/digest.h"
#include "quant/window_batch.h"

namespace tetrad {
namespace {

/// Tokens computed in one go: enough that every weight that is decoded is used many times.
constexpr int64_t kBatchTokens = 4096;

/// Tokens that the kernels take through their experts at a time.
constexpr int64_t kExpertTokens = 1024;

/// visit(name, tensor) for the tensors of one layer.
template <class Visit>
void for_each_tensor_of(const Checkpoint& checkpoint, int64_t layer, const Visit& visit) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  for (auto it = checkpoint.tensors().lower_bound(prefix);
       it != checkpoint.tensors().end() && it->first.starts_with(prefix); ++it)
    visit(it->first, it->second);
}

int64_t largest_layer_bytes(const Checkpoint& checkpoint) {
  int64_t largest = 0;
  for (int64_t layer = 0; layer < checkpoint.config().num_hidden_layers; ++layer) {
    int64_t bytes = 0;
    for_each_tensor_of(checkpoint, layer, [&](const std::string&, const TensorView& tensor) {
      bytes += static_cast<int64_t>(tensor.bytes.size());
    });
    largest = std::max(largest, bytes);
  }
  return largest;
}

}  // namespace

/// All tokens' activations between two layers, and inside the current one.
struct CalibrationRun::Stream {
  Stream(const ModelConfig& config, int64_t num_tokens, int64_t window, int64_t batch_tokens)
      : residual(num_tokens, config.hidden_size),
        attn_in(num_tokens, config.hidden_size),
        attended(num_tokens, config.q_size()),
        moe_in(num_tokens, config.hidden_size),
        router_logits(num_tokens, config.num_local_experts),
        router_index(num_tokens, config.num_experts_per_tok),
        router_weights(num_tokens, config.num_experts_per_tok),
        batch_size(batch_tokens),
        batch(config, window, std::min(batch_tokens, num_tokens)) {}

  /// What is handed out, and what decides who gets it. Squares must be finite, too.
  Result<void> check_finite(int64_t layer) {
    for (FloatMatrix* matrix : {&attn_in, &attended, &moe_in, &router_logits}) {
      const Activations all = matrix->all();
      for (int64_t i = 0; i < all.rows * all.cols; ++i) {
        if (std::isfinite(all.data[i] * all.data[i])) continue;
        return fail(ErrorCode::corrupt_data,
                    "the activations of layer {} are not finite, or too large to be squared: this "
                    "model cannot be calibrated",
                    layer);
      }
    }
    return {};
  }

  FloatMatrix residual, attn_in, attended, moe_in, router_logits, router_index, router_weights;
  int64_t batch_size;
  WindowBatch batch;
};

struct CalibrationRun::ExpertToken {
  int64_t token = 0;
  float weight = 0;  // of the expert's output
};

Result<std::unique_ptr<CalibrationRun>> CalibrationRun::create(
    std::shared_ptr<MiniMaxM2> model, std::shared_ptr<const Checkpoint> checkpoint,
    std::vector<int32_t> ids, const CalibrationOptions& options) {
  const ModelConfig& config = model->config();
  TETRAD_TRY(check_calibration_text(config, ids, options.window));
  for (const int32_t id : ids) {
    if (id >= 0 && id < config.vocab_size) continue;
    return fail(ErrorCode::invalid_argument,
                "token {} of the calibration text is outside the vocabulary of {}", id,
                config.vocab_size);
  }
  std::unique_ptr<CalibrationRun> run(
      new CalibrationRun(std::move(model), std::move(checkpoint), std::move(ids), options));
  TETRAD_TRY(run->model_->embed(run->ids_, run->stream_->residual.all()));
  return run;
}

CalibrationRun::CalibrationRun(std::shared_ptr<MiniMaxM2> model,
                               std::shared_ptr<const Checkpoint> checkpoint,
                               std::vector<int32_t> ids, const CalibrationOptions& options)
    : model_(std::move(model)),
      checkpoint_(std::move(checkpoint)),
      ids_(std::move(ids)),
      options_(options) {
  const int64_t batch = std::max<int64_t>(1, kBatchTokens / options.window) * options.window;
  const auto num_tokens = static_cast<int64_t>(ids_.size());
  stream_ = std::make_unique<Stream>(model_->config(), num_tokens, options.window, batch);
}

CalibrationRun::~CalibrationRun() = default;

Result<void> CalibrationRun::run_to(int64_t layer) {
  if (layer < layer_ || layer >= model_->config().num_hidden_layers) {
    return fail(ErrorCode::internal, "calibration is at layer {} and was asked for layer {}",
                layer_, layer);
  }
  while (layer_ < layer)
    TETRAD_TRY(run_layer(layer_ + 1));
  return {};
}

Result<void> CalibrationRun::run_layer(int64_t layer) {
  Stream& stream = *stream_;
  kv_range_ = {};
  int64_t first = 0;  // token of the batch
  const Observer observer = [&](std::string_view name, int64_t, Activations tensor) {
    if (name == "k") kv_range_.see_keys(tensor);
    if (name == "v") kv_range_.see_values(tensor);
    if (name == "attn_in") stream.attn_in.put(first, tensor);
    if (name == "attended") stream.attended.put(first, tensor);
    if (name == "moe_in") stream.moe_in.put(first, tensor);
    if (name == "router_logits") stream.router_logits.put(first, tensor);
    if (name == "router_index") stream.router_index.put(first, tensor);
    if (name == "router_weights") stream.router_weights.put(first, tensor);
  };
  const std::span<const int32_t> ids = ids_;
  const auto num_tokens = static_cast<int64_t>(ids.size());
  for (; first < num_tokens; first += stream.batch_size) {
    const int64_t count = std::min(stream.batch_size, num_tokens - first);
    const Batch batch =
        stream.batch.of(ids.subspan(static_cast<size_t>(first), static_cast<size_t>(count)));
    TETRAD_TRY(model_->layer(layer, batch, stream.batch.cache(), stream.residual.rows(first, count),
                             &observer));
  }
  layer_ = layer;
  for_each_tensor_of(*checkpoint_, layer, [&](const std::string& name, const TensorView&) {
    checkpoint_->release(name);
  });
  return stream.check_finite(layer);
}

json::object CalibrationRun::identity() const {
  Digest digest;
  digest.add(std::as_bytes(std::span(ids_)));
  // Activations differ in their last bits between instruction sets, not between numbers of threads.
  // "cpu (avx512, 2 threads)" → "cpu (avx512)"
  std::string kernels(std::as_const(*model_).kernels().name());
  if (const size_t comma = kernels.find(','); comma != std::string::npos)
    kernels.replace(comma, std::string::npos, ")");
  return {{"kernels", kernels},
          {"tokens", ids_.size()},
          {"ids", digest.finish()},
          {"window", options_.window},
          {"min_expert_tokens", options_.min_expert_tokens}};
}

int64_t CalibrationRun::working_set_bytes() const {
  const ModelConfig& config = model_->config();
  const auto num_tokens = static_cast<int64_t>(ids_.size());
  const int64_t between_layers = 3 * config.hidden_size + config.q_size() +
                                 config.num_local_experts + 2 * config.num_experts_per_tok;
  // Of the model's workspace and of the batch's keys and values.
  const int64_t inside_a_layer = 3 * config.hidden_size + 2 * config.q_size() +
                                 4 * config.kv_size() + config.num_local_experts;
  // Gate, up and down of a token's experts, and what an expert's inputs become.
  const int64_t of_experts =
      config.num_experts_per_tok * (2 * config.intermediate_size + config.hidden_size);
  const int64_t handed_out = config.hidden_size + 2 * config.intermediate_size;
  const int64_t floats = num_tokens * (between_layers + handed_out) +
                         std::min(num_tokens, stream_->batch_size) * inside_a_layer +
                         std::min(num_tokens, kExpertTokens) * of_experts;
  return floats * int64_t{sizeof(float)} + largest_layer_bytes(*checkpoint_);
}

ModuleInputs CalibrationRun::attention_inputs() const {
  return ModuleInputs(stream_->attn_in.all());
}

ModuleInputs CalibrationRun::output_inputs() const {
  return ModuleInputs(stream_->attended.all());
}

ModuleInputs CalibrationRun::expert_inputs(int64_t expert) const {
  return gather(stream_->moe_in.all(), tokens_of(expert), true);
}

/// silu(w1 x) · (w3 x), each times the router's weight.
ModuleInputs CalibrationRun::expert_hidden(int64_t expert, ThreadPool& pool) {
  const MiniMaxM2Layer& layer = model_->layer_weights(layer_);
  const std::vector<ExpertToken> tokens = tokens_of(expert);
  const ModuleInputs inputs = gather(stream_->moe_in.all(), tokens, false);
  const WeightMatrix& w1 = layer.w1[static_cast<size_t>(expert)];
  const WeightMatrix& w3 = layer.w3[static_cast<size_t>(expert)];
  const auto rows = static_cast<int64_t>(tokens.size());
  std::vector<float> gate(static_cast<size_t>(rows * w1.rows));
  std::vector<float> up(gate.size());
  model_->kernels().linear(w1, inputs.rows(), {gate.data(), rows, w1.rows});
  model_->kernels().linear(w3, inputs.rows(), {up.data(), rows, w1.rows});
  pool.parallel_for(rows, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float weight = tokens[static_cast<size_t>(t)].weight;
      for (int64_t i = t * w1.rows; i < (t + 1) * w1.rows; ++i) {
        float& value = gate[static_cast<size_t>(i)];
        value = value / (1.0f + std::exp(-value)) * up[static_cast<size_t>(i)] * weight;
      }
    }
  });
  for (const char* matrix : {"w1", "w3"}) {
    const std::string module =
        fmt::format("model.layers.{}.block_sparse_moe.experts.{}.{}", layer_, expert, matrix);
    for (const std::string& name : checkpoint_->weight_tensors(module))
      checkpoint_->release(name);
  }
  return ModuleInputs(std::move(gate), w1.rows);
}

int64_t CalibrationRun::routed_tokens(int64_t expert) const {
  const Activations index = stream_->router_index.all();
  return std::count(index.data, index.data + index.rows * index.cols, static_cast<float>(expert));
}

/// Ascending. What the expert would weigh where it was not chosen: its score over that and the
/// scores of the chosen.
std::vector<CalibrationRun::ExpertToken> CalibrationRun::tokens_of(int64_t expert) const {
  const Activations index = stream_->router_index.all();
  const Activations weights = stream_->router_weights.all();
  const Activations logits = stream_->router_logits.all();
  std::vector<ExpertToken> chosen;
  std::vector<int64_t> not_chosen;
  for (int64_t token = 0; token < index.rows; ++token) {
    const std::span<const float> experts = index.row_span(token);
    const auto found = std::ranges::find(experts, static_cast<float>(expert));
    if (found == experts.end()) {
      not_chosen.push_back(token);
    } else {
      chosen.push_back({token, weights.row(token)[found - experts.begin()]});
    }
  }
  const auto wanted = static_cast<size_t>(options_.min_expert_tokens);
  if (chosen.size() >= wanted) return chosen;

  std::vector<ExpertToken> others;
  for (const int64_t token : not_chosen) {
    const auto score = [&](int64_t of) { return 1.0f / (1.0f + std::exp(-logits.row(token)[of])); };
    float sum = score(expert);
    for (const float of : index.row_span(token))
      sum += score(static_cast<int64_t>(of));
    others.push_back({token, score(expert) / sum});
  }
  const size_t more = std::min(wanted - chosen.size(), others.size());
  std::partial_sort(others.begin(), others.begin() + static_cast<ptrdiff_t>(more), others.end(),
                    [](const ExpertToken& a, const ExpertToken& b) {
                      return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
                    });
  chosen.insert(chosen.end(), others.begin(), others.begin() + static_cast<ptrdiff_t>(more));
  std::sort(chosen.begin(), chosen.end(),
            [](const ExpertToken& a, const ExpertToken& b) { return a.token < b.token; });
  return chosen;
}

ModuleInputs CalibrationRun::gather(Activations from, const std::vector<ExpertToken>& tokens,
                                    bool weighted) const {
  std::vector<float> values(tokens.size() * static_cast<size_t>(from.cols));
  float* out = values.data();
  for (const ExpertToken& token : tokens) {
    const float* row = from.row(token.token);
    const float factor = weighted ? token.weight : 1.0f;
    for (int64_t k = 0; k < from.cols; ++k)
      *out++ = row[k] * factor;
  }
  return {std::move(values), from.cols};
}

}  // namespace tetrad
