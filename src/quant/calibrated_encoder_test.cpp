#include "quant/calibrated_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "checkpoint/kv_scales.h"
#include "model/sequence_runner.h"
#include "quant/quantizer_fixture_for_tests.h"

namespace tetrad {
namespace {

constexpr int64_t kTestWindow = 48;

std::vector<int32_t> calibration_ids() {
  std::vector<int32_t> ids(600);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>((i * i + i / 7) % 24);
  return ids;
}

class CalibratedEncoderTest : public QuantizerTest {
 protected:
  static std::shared_ptr<MiniMaxM2> load(const fs::path& folder) {
    auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(folder).value());
    return MiniMaxM2::load(std::move(checkpoint), make_reference_kernels()).value();
  }

  CalibratedEncoder encoder(Rounding rounding, std::vector<int32_t> ids = calibration_ids()) const {
    const auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(source()).value());
    return CalibratedEncoder(
        CalibrationRun::create(load(source()), checkpoint, std::move(ids),
                               {.window = kTestWindow, .min_expert_tokens = 32})
            .value(),
        {.search = ScaleSearch::exact, .rounding = rounding});
  }

  QuantizeReport quantize_with(ModuleEncoder& encoder) const {
    QuantizeOptions options;
    options.encoder = &encoder;
    options.overwrite = true;
    auto report = quantize(options);
    EXPECT_TRUE(report) << report.error().message;
    return report.value();
  }

  std::vector<float> logits(const fs::path& folder) const {
    const auto model = load(folder);
    SequenceRunner runner = SequenceRunner::create(*model, {DType::f32, {}}, kTestWindow).value();
    const std::vector<int32_t> ids = calibration_ids();
    std::vector<float> all;
    for (size_t begin = 0; begin + kTestWindow <= ids.size(); begin += kTestWindow) {
      runner.reset();
      const Activations out = runner
                                  .append(std::span(ids).subspan(begin, kTestWindow),
                                          SequenceRunner::Logits::every_token)
                                  .value();
      all.insert(all.end(), out.data, out.data + out.rows * out.cols);
    }
    return all;
  }

  /// ‖logits of the destination - logits of the source‖²
  double distance() const {
    const std::vector<float> wanted = logits(source());
    const std::vector<float> made = logits(destination());
    double sum = 0;
    for (size_t i = 0; i < wanted.size(); ++i)
      sum += std::pow(double{wanted[i]} - made[i], 2);
    return sum;
  }
};

TEST_F(CalibratedEncoderTest, TheMoreTheRoundingKnowsTheCloserAreTheLogits) {
  write_source(random_model());
  std::map<Rounding, double> distances;
  std::map<Rounding, double> weight_errors;
  for (const Rounding rounding :
       {Rounding::plain, Rounding::importance, Rounding::group, Rounding::matrix}) {
    CalibratedEncoder encoder = this->encoder(rounding);
    const QuantizeReport report = quantize_with(encoder);
    EXPECT_EQ(report.quantized.count, kQuantizedMatrices);
    QuantizationLoss all;
    for (const MatrixLoss& matrix : report.matrices)
      all.add(matrix.loss);
    weight_errors[rounding] = all.relative_rms_error();
    distances[rounding] = distance();
    std::printf("%-10s  weights %.3f %%  squared distance of logits %.3g\n",
                std::string(rounding_name(rounding)).c_str(), 100 * weight_errors[rounding],
                distances[rounding]);
  }
  EXPECT_LT(distances[Rounding::group], 0.9 * distances[Rounding::plain]);
  EXPECT_LT(distances[Rounding::matrix], 0.7 * distances[Rounding::plain]);
  // The plain search is the best for the weights themselves.
  EXPECT_LE(weight_errors[Rounding::plain], weight_errors[Rounding::importance]);
  EXPECT_LE(weight_errors[Rounding::importance], weight_errors[Rounding::matrix]);
}

TEST_F(CalibratedEncoderTest, AStoppedRunEndsWithTheSameBytes) {
  write_source(random_model());
  CalibratedEncoder undisturbed = encoder(Rounding::matrix);
  quantize_with(undisturbed);
  const auto expected = contents(destination());
  for (const int stop_before : {1, 9, 17, 25}) {
    fs::remove_all(destination());
    CalibratedEncoder first = encoder(Rounding::matrix);
    int modules = 0;
    QuantizeOptions options;
    options.encoder = &first;
    options.should_stop = [&] { return modules++ == stop_before; };
    EXPECT_FALSE(quantize(options));
    // As a new process: the calibration begins anew and catches up.
    CalibratedEncoder second = encoder(Rounding::matrix);
    options.encoder = &second;
    options.should_stop = nullptr;
    const auto report = quantize(options);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(contents(destination()), expected) << stop_before;
  }
}

TEST_F(CalibratedEncoderTest, MeasuresTheKvScalesOfTheWholeModelCalibration) {
  write_source(random_model());
  CalibratedEncoder encoder = this->encoder(Rounding::plain);
  quantize_with(encoder);
  const auto expected =
      calibrate_kv_scales(*load(source()), calibration_ids(), kTestWindow).value();
  const auto found = read_kv_scales(Checkpoint::open(destination()).value());
  ASSERT_EQ(found.layers.size(), expected.size());
  for (size_t layer = 0; layer < expected.size(); ++layer)
    EXPECT_EQ(found.layers[layer], expected[layer]) << layer;
}

TEST_F(CalibratedEncoderTest, ActivationsThatCannotBeSquaredNameTheirLayer) {
  Tensors model = random_model(DType::f32);
  std::vector<std::byte>& norm = model["model.layers.1.post_attention_layernorm.weight"].bytes;
  const float huge = 9e19f;
  for (size_t i = 0; i < norm.size(); i += sizeof huge)
    std::memcpy(norm.data() + i, &huge, sizeof huge);
  write_source(model);
  CalibratedEncoder encoder = this->encoder(Rounding::importance);
  QuantizeOptions options;
  options.encoder = &encoder;
  expect_failure(options, "activations of layer 1");
}

TEST_F(CalibratedEncoderTest, GoesOnOnlyWithTheSameTextAndRounding) {
  write_source(random_model());
  const auto stop_early = [&](CalibratedEncoder& encoder) {
    int modules = 0;
    QuantizeOptions options;
    options.encoder = &encoder;
    options.should_stop = [&] { return modules++ == 12; };
    return quantize(options);
  };
  CalibratedEncoder first = encoder(Rounding::matrix);
  ASSERT_FALSE(stop_early(first));
  std::vector<int32_t> other_ids = calibration_ids();
  other_ids.back() ^= 1;
  CalibratedEncoder other_text = encoder(Rounding::matrix, other_ids);
  CalibratedEncoder other_rounding = encoder(Rounding::group);
  QuantizeOptions options;
  options.encoder = &other_text;
  expect_failure(options, "calibration");
  options.encoder = &other_rounding;
  expect_failure(options, "rounding");
}

}  // namespace
}  // namespace tetrad
