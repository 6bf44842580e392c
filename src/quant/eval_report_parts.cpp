#include "quant/eval_report_parts.h"

#include <fmt/ranges.h>

#include <array>
#include <cctype>
#include <set>
#include <string_view>

#include "checkpoint/architecture.h"

namespace tetrad {
namespace {

constexpr std::array<std::string_view, 6> kPartNames = {"embedding", "attention", "routers",
                                                        "experts",   "head",      "vectors"};

size_t part_of(TensorRole role) {
  switch (role) {
    case TensorRole::embedding:
      return 0;
    case TensorRole::attention_projection:
      return 1;
    case TensorRole::router:
      return 2;
    case TensorRole::expert_w1:
    case TensorRole::expert_w2:
    case TensorRole::expert_w3:
      return 3;
    case TensorRole::lm_head:
      return 4;
    case TensorRole::norm:
    case TensorRole::routing_bias:
      break;
  }
  return 5;
}

/// "bf16", as formats of matrices are spelled.
std::string lower_case_name(DType dtype) {
  std::string name(dtype_name(dtype));
  for (char& letter : name)
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return name;
}

struct PartTotals {
  std::set<std::string> formats;
  int64_t parameters = 0;
  int64_t bytes = 0;

  void add(const std::string& format, int64_t more_parameters, int64_t more_bytes) {
    formats.insert(format);
    parameters += more_parameters;
    bytes += more_bytes;
  }
  ModelPart named(std::string_view name) const {
    return {.name = std::string(name),
            .formats = fmt::format("{}", fmt::join(formats, ", ")),
            .parameters = parameters,
            .bytes = bytes};
  }
};

}  // namespace

double ModelPart::bits_per_weight() const {
  return parameters == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
}

Result<std::vector<ModelPart>> model_parts(const Checkpoint& checkpoint) {
  std::array<PartTotals, kPartNames.size()> totals;
  PartTotals all;
  for (const ExpectedTensor& expected : expected_tensors(checkpoint.config())) {
    std::string format;
    int64_t bytes = 0;
    if (expected.is_matrix()) {
      TETRAD_ASSIGN(const WeightMatrix matrix,
                    checkpoint.matrix(expected.name, expected.rows, expected.cols));
      format = weight_format_name(matrix.format);
      bytes = matrix.total_bytes();
    } else {
      const TensorView* tensor = checkpoint.find(expected.name);
      if (tensor == nullptr) {
        return fail(ErrorCode::corrupt_data, "{}: the tensor \"{}\" is missing",
                    checkpoint.folder().string(), expected.name);
      }
      format = lower_case_name(tensor->dtype);
      bytes = static_cast<int64_t>(tensor->bytes.size());
    }
    const int64_t parameters = expected.rows * expected.cols;
    totals[part_of(expected.role)].add(format, parameters, bytes);
    all.add(format, parameters, bytes);
  }
  std::vector<ModelPart> parts;
  parts.reserve(totals.size() + 1);
  for (size_t i = 0; i < totals.size(); ++i)
    parts.push_back(totals[i].named(kPartNames[i]));
  parts.push_back(all.named("all"));
  return parts;
}

}  // namespace tetrad
