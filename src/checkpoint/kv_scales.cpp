#include "checkpoint/kv_scales.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "checkpoint/architecture.h"
#include "checkpoint/dense_values.h"

namespace tetrad {
namespace {

/// What the names of one kind say about one layer.
struct Slot {
  std::optional<float> scale;
  std::string name;  // of the tensor it came from
  bool contradicted = false;
};

struct LayerSlots {
  Slot key, value, both;
};

/// Something that may be so in many layers and is worth one sentence.
struct Occurrences {
  int64_t count = 0;
  int64_t first = 0;

  void add(int64_t layer) {
    if (count++ == 0) first = layer;
  }
};

class Reader {
 public:
  explicit Reader(const Checkpoint& checkpoint)
      : checkpoint_(checkpoint),
        slots_(static_cast<size_t>(checkpoint.config().num_hidden_layers)) {}

  CheckpointKvScales run() {
    result_.announced = checkpoint_.quantization().fp8_kv_cache;
    for (const auto& [name, tensor] : checkpoint_.tensors()) {
      const auto parsed = parse_kv_scale_name(name);
      if (!parsed || parsed->layer < 0 || std::cmp_greater_equal(parsed->layer, slots_.size())) {
        continue;
      }
      LayerSlots& slots = slots_[static_cast<size_t>(parsed->layer)];
      switch (parsed->kind) {
        case KvScaleKind::key:
          fill(slots.key, name, tensor, parsed->layer);
          break;
        case KvScaleKind::value:
          fill(slots.value, name, tensor, parsed->layer);
          break;
        case KvScaleKind::both:
          fill(slots.both, name, tensor, parsed->layer);
          break;
        case KvScaleKind::other:  // of queries and probabilities, which stay in float32 here
          break;
      }
    }
    for (size_t layer = 0; layer < slots_.size(); ++layer)
      result_.layers.push_back(scales_of(slots_[layer], static_cast<int64_t>(layer)));
    report(per_head_, "a scale for each KV head; the largest is used for the whole layer");
    report(single_, "a scale for keys or for values only; it is used for both");
    return std::move(result_);
  }

 private:
  void fill(Slot& slot, const std::string& name, const TensorView& tensor, int64_t layer) {
    const std::optional<float> scale = read(name, tensor, layer);
    if (!scale) return;
    if (slot.scale && *slot.scale != *scale) {
      slot.contradicted = true;
      warn("\"{}\" and \"{}\" differ; the layer counts as one without scales", slot.name, name);
    }
    slot.scale = scale;
    slot.name = name;
  }

  /// Nothing, with a warning, where the tensor holds no scale that can be used.
  std::optional<float> read(const std::string& name, const TensorView& tensor, int64_t layer) {
    const auto values = dense_values(tensor);
    const auto heads = static_cast<size_t>(checkpoint_.config().num_key_value_heads);
    if (!values || (values->size() != 1 && values->size() != heads)) {
      warn(
          "{}: \"{}\" {} [{}] is not one F32, F16 or BF16 scale for the layer or for each of {} KV "
          "heads; it counts as missing",
          checkpoint_.shard_of(name), name, dtype_name(tensor.dtype), fmt::join(tensor.shape, ", "),
          heads);
      return std::nullopt;
    }
    for (const float value : *values) {
      if (std::isfinite(value) && value > 0) continue;
      warn("{}: \"{}\" holds {}, which is no positive number; it counts as missing",
           checkpoint_.shard_of(name), name, value);
      return std::nullopt;
    }
    if (values->size() > 1) per_head_.add(layer);
    return *std::max_element(values->begin(), values->end());
  }

  std::optional<KvScales> scales_of(const LayerSlots& slots, int64_t layer) {
    if (slots.key.contradicted || slots.value.contradicted || slots.both.contradicted) {
      return std::nullopt;
    }
    const std::optional<float> k = slots.key.scale ? slots.key.scale : slots.both.scale;
    const std::optional<float> v = slots.value.scale ? slots.value.scale : slots.both.scale;
    if (k && v) return KvScales{*k, *v};
    const std::optional<float> only = k ? k : v;
    if (!only) return std::nullopt;
    single_.add(layer);
    return KvScales{*only, *only};
  }

  template <class... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) {
    result_.warnings.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  void report(const Occurrences& occurrences, std::string_view what) {
    if (occurrences.count == 0) return;
    warn("KV cache: of {} layers {} (the first is layer {}) have {}", slots_.size(),
         occurrences.count, occurrences.first, what);
  }

  const Checkpoint& checkpoint_;
  std::vector<LayerSlots> slots_;
  Occurrences per_head_, single_;
  CheckpointKvScales result_;
};

}  // namespace

int64_t CheckpointKvScales::num_layers_with_scales() const {
  return std::count_if(layers.begin(), layers.end(),
                       [](const auto& layer) { return layer.has_value(); });
}

CheckpointKvScales read_kv_scales(const Checkpoint& checkpoint) {
  return Reader(checkpoint).run();
}

}  // namespace tetrad
