// Does one operation of the kernels N times, on one thread, so that instructions can be counted
// (check.py). What it prints tells how many multiply-adds one time has.

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "base/splitmix.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace tetrad {
namespace {

/// A seventh of MiniMax-M2.7's sizes, so that the counting takes seconds.
constexpr int64_t kCols = 1024;
constexpr int64_t kRows = 256;

std::vector<float> random_floats(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(splitmix(i * kSplitMixStep) % 2001) / 1000.0f - 1.0f;
  return values;
}

/// Random codes, and scales of about 0.01.
class PackedWeights {
 public:
  PackedWeights(int64_t rows, int64_t cols)
      : codes_(static_cast<size_t>(rows * cols / 2)),
        scales_(static_cast<size_t>(rows * cols / kMxfp4GroupSize * 2)),
        view_{.format = WeightFormat::mxfp4_16, .rows = rows, .cols = cols} {
    for (size_t i = 0; i < codes_.size(); ++i)
      codes_[i] = static_cast<std::byte>(splitmix(i * kSplitMixStep) & 0xFF);
    for (size_t i = 0; i < scales_.size(); i += 2) {
      const uint16_t scale = float_to_f16(0.01f + static_cast<float>(i % 64) * 1e-4f);
      std::memcpy(scales_.data() + i, &scale, sizeof scale);
    }
    view_.data = codes_.data();
    view_.scales = scales_.data();
  }

  const WeightMatrix& view() const { return view_; }

 private:
  std::vector<std::byte> codes_, scales_;
  WeightMatrix view_;
};

int64_t run_linear(Kernels& kernels, int64_t tokens, int64_t repetitions) {
  const PackedWeights weight(kRows, kCols);
  std::vector<float> x = random_floats(tokens * kCols);
  std::vector<float> out(static_cast<size_t>(tokens * kRows));
  for (int64_t i = 0; i < repetitions; ++i)
    kernels.linear(weight.view(), {x.data(), tokens, kCols}, {out.data(), tokens, kRows});
  return tokens * kRows * kCols;
}

int64_t run_attention(Kernels& kernels, int64_t tokens, int64_t repetitions) {
  constexpr int64_t kHeads = 12, kKvHeads = 2, kHeadDim = 128, kContext = 512;
  const int64_t num_blocks = kv_blocks_for(kContext + tokens);
  std::vector<std::byte> cache(
      static_cast<size_t>(2 * num_blocks * kKvBlockSize * kKvHeads * kHeadDim));
  for (size_t i = 0; i < cache.size(); ++i)
    cache[i] = static_cast<std::byte>((splitmix(i * kSplitMixStep) & 0x9F) | 0x20);
  const KvCacheLayer layer{.dtype = DType::f8_e4m3,
                           .k = cache.data(),
                           .v = cache.data() + cache.size() / 2,
                           .num_blocks = num_blocks,
                           .num_kv_heads = kKvHeads,
                           .head_dim = kHeadDim};
  std::vector<int32_t> block_table(static_cast<size_t>(num_blocks));
  std::iota(block_table.begin(), block_table.end(), 0);
  const SequenceSlice slice{
      .query_len = tokens, .context_len = kContext, .block_table = block_table};
  std::vector<float> q = random_floats(tokens * kHeads * kHeadDim);
  std::vector<float> out(q.size());
  Batch batch;
  batch.sequences = {&slice, 1};
  for (int64_t i = 0; i < repetitions; ++i) {
    kernels.attention({q.data(), tokens, kHeads * kHeadDim}, batch, layer,
                      {out.data(), tokens, kHeads * kHeadDim});
  }
  int64_t keys = 0;
  for (int64_t t = 0; t < tokens; ++t)
    keys += kContext + t + 1;
  return 2 * keys * kHeads * kHeadDim;
}

int64_t run(Kernels& kernels, std::string_view operation, int64_t repetitions) {
  if (operation == "linear_1") return run_linear(kernels, 1, repetitions);
  if (operation == "linear_4") return run_linear(kernels, 4, repetitions);
  if (operation == "linear_24") return run_linear(kernels, 24, repetitions);
  if (operation == "attention_1") return run_attention(kernels, 1, repetitions);
  if (operation == "attention_16") return run_attention(kernels, 16, repetitions);
  return 0;
}

int run_command_line(const std::vector<std::string>& arguments) {
  if (arguments.size() != 4) {
    std::cerr << "usage: kernel_loop INSTRUCTION-SET float32|int8 OPERATION REPETITIONS\n";
    return 2;
  }
  const ActivationType activations =
      arguments[1] == "int8" ? ActivationType::int8 : ActivationType::f32;
  const auto kernels = make_cpu_kernels(std::make_shared<ThreadPool>(1), arguments[0], activations);
  if (!kernels) {
    std::cerr << kernels.error().message << '\n';
    return 2;
  }
  const int64_t multiply_adds =
      run(**kernels, arguments[2], std::strtoll(arguments[3].c_str(), nullptr, 10));
  std::cout << multiply_adds << '\n';
  return multiply_adds > 0 ? 0 : 2;
}

}  // namespace
}  // namespace tetrad

int main(int argc, char** argv) {
  return tetrad::run_command_line({argv + 1, argv + argc});
}
