#include "kernels/cpu/expert_layer.h"

#include <algorithm>
#include <cstring>

#include "base/integer_math.h"

namespace tetrad {
namespace {

/// The outputs of a token's experts are kept until they are summed: 0.1 MB a token of the real
/// model. So many tokens go through the experts at a time; enough that each weight is used many
/// times.
constexpr int64_t kMaxExpertTokens = 1024;

/// Floats of gate and of up that a thread computes before it goes on with them: both stay in the
/// L2 cache.
constexpr int64_t kGateFloats = 1 << 15;
/// And columns: the expert's two matrices are read in turns of so many rows.
constexpr int64_t kMaxGateColumns = 256;

int64_t most_gate_columns(int64_t num_slots) {
  return std::clamp(kGateFloats / num_slots / kColumnGrain * kColumnGrain, kColumnGrain,
                    kMaxGateColumns);
}

Activations resize(std::vector<float>& memory, int64_t rows, int64_t cols) {
  const auto needed = static_cast<size_t>(rows * cols);
  if (memory.size() < needed) memory.resize(needed);
  return {memory.data(), rows, cols};
}

}  // namespace

void ExpertLayer::run(Activations x, const ExpertWeights& weights, const Routing& routing,
                      Activations out) {
  gate_.resize(static_cast<size_t>(pool_->num_threads()));
  up_.resize(gate_.size());
  for (int64_t first = 0; first < x.rows; first += kMaxExpertTokens) {
    const Share tokens{first, std::min(first + kMaxExpertTokens, x.rows)};
    run_tokens(part(x, tokens), weights, part(routing, tokens), part(out, tokens));
  }
}

void ExpertLayer::run_tokens(Activations x, const ExpertWeights& weights, const Routing& routing,
                             Activations out) {
  groups_.build(routing, static_cast<int64_t>(weights.w1.size()));
  const auto num_slots = static_cast<int64_t>(routing.expert_ids.size());
  const int64_t intermediate = weights.w1.front().rows;

  bool any_input_int8 = false, any_hidden_int8 = false, any_hidden_f32 = false;
  for (const ExpertGroups::Group& group : groups_.groups()) {
    const auto expert = static_cast<size_t>(group.expert);
    any_input_int8 |= matmul_->takes_int8(weights.w1[expert]);
    any_input_int8 |= matmul_->takes_int8(weights.w3[expert]);
    (matmul_->takes_int8(weights.w2[expert]) ? any_hidden_int8 : any_hidden_f32) = true;
  }
  if (any_input_int8) inputs_int8_.quantize(x, *pool_, *simd_);
  if (any_hidden_int8) hidden_int8_.resize(num_slots, intermediate);
  const Activations hidden = resize(hidden_, any_hidden_f32 ? num_slots : 0, intermediate);
  const Activations down = resize(down_, num_slots, x.cols);

  const auto slots = static_cast<size_t>(num_slots);
  input_rows_.resize(slots);
  input_int8_rows_.resize(any_input_int8 ? slots : 0);
  hidden_rows_.resize(any_hidden_f32 ? slots : 0);
  hidden_int8_rows_.resize(any_hidden_int8 ? slots : 0);
  for (size_t slot = 0; slot < slots; ++slot) {
    const int64_t token = groups_.tokens()[slot];
    input_rows_[slot] = x.row(token);
    if (any_input_int8) input_int8_rows_[slot] = inputs_int8_.row(token);
    if (any_hidden_f32) hidden_rows_[slot] = hidden.row(static_cast<int64_t>(slot));
    if (any_hidden_int8) hidden_int8_rows_[slot] = hidden_int8_.row(static_cast<int64_t>(slot));
  }

  // Of a row of an average group.
  const auto num_groups = static_cast<int64_t>(groups_.groups().size());
  const int64_t row_slots = ceil_div(num_slots, num_groups);
  pieces_.start(num_groups * intermediate, 2 * row_slots * x.cols, pool_->num_threads());
  for (const ExpertGroups::Group& group : groups_.groups())
    pieces_.add(intermediate, most_gate_columns(group.slot_end - group.slot_begin));
  pieces_.deal(*pool_, [&](int thread, RowPiece piece, const RowPiece* next) {
    const auto index = static_cast<size_t>(thread);
    compute_hidden(weights, piece, next, gate_[index], up_[index]);
  });

  pieces_.start(num_groups * x.cols, row_slots * intermediate, pool_->num_threads());
  for (size_t group = 0; group < groups_.groups().size(); ++group)
    pieces_.add(x.cols);
  const MatMulRows inputs{hidden_rows_.data(), hidden_int8_rows_.data()};
  pieces_.deal(*pool_, [&](int, RowPiece piece, const RowPiece* next) {
    const ExpertGroups::Group& group = groups_.groups()[piece.matrix];
    matmul_->multiply(expert_of(weights.w2, piece), piece.rows, inputs.from(group.slot_begin),
                      group.slot_end - group.slot_begin,
                      down.row(group.slot_begin) + piece.rows.begin, down.cols,
                      begin_of(weights.w2, next));
  });

  run_on_threads(*pool_, num_slots * x.cols, [&](int thread, int num_threads) {
    combine(routing, share_of(x.cols, thread, num_threads), down, out);
  });
}

/// hidden = silu(w1 x) * (w3 x) for some columns and all slots of one expert, in the form that its
/// w2 takes.
void ExpertLayer::compute_hidden(const ExpertWeights& weights, RowPiece piece, const RowPiece* next,
                                 std::vector<float>& gate_memory, std::vector<float>& up_memory) {
  const ExpertGroups::Group& group = groups_.groups()[piece.matrix];
  const auto expert = static_cast<size_t>(group.expert);
  const int64_t num_slots = group.slot_end - group.slot_begin;
  const int64_t intermediate = weights.w1[expert].rows;
  const bool to_int8 = matmul_->takes_int8(weights.w2[expert]);
  const MatMulRows inputs =
      MatMulRows{input_rows_.data(), input_int8_rows_.data()}.from(group.slot_begin);
  const Share columns = piece.rows;
  const int64_t count = columns.end - columns.begin;
  const Activations gate = resize(gate_memory, num_slots, count);
  const Activations up = resize(up_memory, num_slots, count);
  matmul_->multiply(weights.w1[expert], columns, inputs, num_slots, gate.data, count,
                    begin_of(weights.w3, &piece));
  matmul_->multiply(weights.w3[expert], columns, inputs, num_slots, up.data, count,
                    begin_of(weights.w1, next));
  simd_->silu_multiply(gate.data, up.data, num_slots * count);
  for (int64_t i = 0; i < num_slots; ++i) {
    const int64_t slot = group.slot_begin + i;
    if (to_int8) {
      simd_->quantize_int8(gate.row(i), columns.begin, columns.end, intermediate,
                           hidden_int8_.row(slot));
    } else {
      std::memcpy(hidden_.data() + slot * intermediate + columns.begin, gate.row(i),
                  static_cast<size_t>(count) * sizeof(float));
    }
  }
}

const WeightMatrix& ExpertLayer::expert_of(std::span<const WeightMatrix> experts,
                                           RowPiece piece) const {
  return experts[static_cast<size_t>(groups_.groups()[piece.matrix].expert)];
}

AnyMatMul::Next ExpertLayer::begin_of(std::span<const WeightMatrix> experts,
                                      const RowPiece* piece) const {
  if (piece == nullptr) return {};
  return {&expert_of(experts, *piece), piece->rows.begin};
}

/// Those columns of out[t] = sum of the routing's weights times their slots' rows.
void ExpertLayer::combine(const Routing& routing, Share columns, Activations down,
                          Activations out) const {
  const int64_t top_k = routing.num_experts_per_tok;
  std::vector<const float*> rows(static_cast<size_t>(top_k));
  for (int64_t token = 0; token < out.rows; ++token) {
    for (int64_t choice = 0; choice < top_k; ++choice) {
      const int64_t slot = groups_.slots()[static_cast<size_t>(token * top_k + choice)];
      rows[static_cast<size_t>(choice)] = down.row(slot) + columns.begin;
    }
    simd_->weighted_sum(rows.data(), routing.weights.data() + token * top_k, top_k,
                        columns.end - columns.begin, out.row(token) + columns.begin);
  }
}

}  // namespace tetrad
