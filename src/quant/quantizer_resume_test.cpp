// Whatever ends a run of the quantizer, the next one makes the same bytes as if nothing had been.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <random>

#include "base/file_lock.h"
#include "base/sanitized_for_tests.h"
#include "quant/destination.h"
#include "quant/quantize_journal.h"
#include "quant/quantizer_fixture_for_tests.h"

namespace tetrad {
namespace {

using testing::HasSubstr;

/// Several shards of several modules.
constexpr int64_t kShardBytes = 6000;

/// Of random damage; each writes a checkpoint to the disk.
constexpr int kRounds = 12;

/// Remembers what it is asked for.
class RecordingEncoder : public PlainEncoder {
 public:
  explicit RecordingEncoder(std::vector<KvScales> kv_scales = {})
      : PlainEncoder(ScaleSearch::fast, std::move(kv_scales)) {}

  Result<EncodedMatrix> encode(const PlannedModule& module, const WeightMatrix& source,
                               ThreadPool& pool) override {
    asked.push_back(module.name);
    return PlainEncoder::encode(module, source, pool);
  }
  Result<KvScales> kv_scales(int64_t layer) override {
    asked.push_back(fmt::format("scales of layer {}", layer));
    return PlainEncoder::kv_scales(layer);
  }

  std::vector<std::string> asked;
};

class QuantizerResumeTest : public QuantizerTest {
 protected:
  void SetUp() override {
    QuantizerTest::SetUp();
    write_source(random_model());
    RecordingEncoder encoder(kKvScales);
    const auto report = quantize(options(encoder));
    ASSERT_TRUE(report) << report.error().message;
    undisturbed_ = contents(destination());
    asked_ = encoder.asked;
    losses_ = report->matrices;
    EXPECT_GT(report->num_shards, 3);
    fs::remove_all(destination());
  }

  static QuantizeOptions options(ModuleEncoder& encoder) {
    QuantizeOptions options;
    options.max_shard_bytes = kShardBytes;
    options.num_threads = 1;
    options.encoder = &encoder;
    return options;
  }

  /// Runs until `modules` have been made.
  void stop_after(int modules) const {
    RecordingEncoder encoder(kKvScales);
    QuantizeOptions stopping = options(encoder);
    int asked = 0;
    stopping.should_stop = [&] { return asked++ == modules; };
    const auto report = quantize(stopping);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ErrorCode::cancelled);
    EXPECT_THAT(report.error().message, HasSubstr(fmt::format("stopped after {} of", modules)));
    EXPECT_FALSE(Checkpoint::open(destination())) << "an unfinished folder must not open";
  }

  /// Runs in another process that is killed after so many modules, or comes to its end.
  void kill_after(int modules) const {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      RecordingEncoder encoder(kKvScales);
      QuantizeOptions dying = options(encoder);
      dying.on_progress = [&](const QuantizeProgress& progress) {
        if (progress.modules == modules) ::raise(SIGKILL);
      };
      ::_exit(quantize(dying) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << status;
  }

  /// The names of what had still to be encoded.
  std::vector<std::string> expect_the_same_in_the_end() const {
    RecordingEncoder encoder(kKvScales);
    const auto report = quantize(options(encoder));
    if (!report) {
      ADD_FAILURE() << report.error().message;
      return {};
    }
    EXPECT_TRUE(contents(destination()) == undisturbed_);
    EXPECT_EQ(report->matrices.size(), losses_.size());
    for (size_t i = 0; i < std::min(losses_.size(), report->matrices.size()); ++i) {
      EXPECT_EQ(report->matrices[i].module, losses_[i].module);
      EXPECT_EQ(report->matrices[i].loss.squared_error, losses_[i].loss.squared_error);
      EXPECT_EQ(report->matrices[i].loss.groups, losses_[i].loss.groups);
    }
    return encoder.asked;
  }

  std::vector<std::string> asked_from(const std::string& name) const {
    return {std::find(asked_.begin(), asked_.end(), name), asked_.end()};
  }

  fs::path journal() const { return destination() / kJournalFileName; }
  fs::path partial_file() const {
    for (const auto& entry : fs::directory_iterator(destination())) {
      if (entry.path().string().ends_with(".safetensors.tmp")) return entry.path();
    }
    return {};
  }

  static void truncate(const fs::path& path, uint64_t bytes) {
    ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(bytes)), 0) << path;
  }

  static void flip(const fs::path& path, uint64_t offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(byte ^ 0x10));
    ASSERT_TRUE(file) << path;
  }

  inline static const std::vector<KvScales> kKvScales = {{0.5f, 0.25f}, {3.0f, 7.1f}};
  std::map<std::string, std::string> undisturbed_;
  std::vector<std::string> asked_;
  std::vector<MatrixLoss> losses_;
};

/// Encoded and carried modules, and the KV scales of two layers: what a run is made of.
constexpr int kModules = kQuantizedMatrices + 3 + 2 * 6 + 2;

TEST_F(QuantizerResumeTest, TheEncoderIsAskedInTheOrderOfTheForwardPass) {
  ASSERT_EQ(asked_.size(), size_t{kQuantizedMatrices} + 2);
  EXPECT_EQ(asked_[0], "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(asked_[3], "model.layers.0.self_attn.o_proj");
  EXPECT_EQ(asked_[4], "scales of layer 0");
  EXPECT_EQ(asked_[5], "model.layers.0.block_sparse_moe.experts.0.w1");
  EXPECT_EQ(asked_.back(), "model.layers.1.block_sparse_moe.experts.1.w2");
}

TEST_F(QuantizerResumeTest, StoppedBeforeEachModule) {
  for (int modules = 0; modules < kModules; modules += kSanitized ? 4 : 1) {
    stop_after(modules);
    const std::vector<std::string> asked = expect_the_same_in_the_end();
    EXPECT_EQ(asked.empty() ? std::vector<std::string>() : asked_from(asked.front()), asked);
    fs::remove_all(destination());
  }
}

TEST_F(QuantizerResumeTest, NothingIsEncodedTwice) {
  RecordingEncoder encoder(kKvScales);
  for (int stops = 0; stops <= kModules; ++stops) {
    QuantizeOptions stopping = options(encoder);
    int modules = 0;
    stopping.should_stop = [&] { return modules++ == 1; };
    if (quantize(stopping)) break;
  }
  EXPECT_EQ(encoder.asked, asked_);
  EXPECT_TRUE(contents(destination()) == undisturbed_);
}

TEST_F(QuantizerResumeTest, KilledAfterAModule) {
  for (int modules = 1; modules <= kModules; modules += 4) {
    kill_after(modules);
    expect_the_same_in_the_end();
    fs::remove_all(destination());
  }
}

TEST_F(QuantizerResumeTest, KilledAgainAndAgain) {
  for (int modules = 1; modules <= kModules; modules += 3)
    kill_after(modules);
  expect_the_same_in_the_end();
}

TEST_F(QuantizerResumeTest, LosesTheEndOfThePartialFile) {
  std::mt19937 random(31);
  for (int round = 0; round < kRounds; ++round) {
    stop_after(1 + static_cast<int>(random() % (kModules - 1)));
    if (const fs::path partial = partial_file(); !partial.empty()) {
      truncate(partial, random() % (fs::file_size(partial) + 1));
    }
    expect_the_same_in_the_end();
    fs::remove_all(destination());
  }
}

TEST_F(QuantizerResumeTest, LosesTheEndOfTheJournal) {
  std::mt19937 random(32);
  for (int round = 0; round < kRounds; ++round) {
    stop_after(1 + static_cast<int>(random() % (kModules - 1)));
    const std::string text = read_text_file(journal()).value();
    const size_t first_line = text.find('\n') + 1;
    truncate(journal(), first_line + random() % (text.size() - first_line + 1));
    expect_the_same_in_the_end();
    fs::remove_all(destination());
  }
}

TEST_F(QuantizerResumeTest, FindsBytesThatHaveChanged) {
  std::mt19937 random(33);
  for (int round = 0; round < kRounds; ++round) {
    stop_after(kModules / 2);
    std::vector<fs::path> weights;
    for (const auto& entry : fs::directory_iterator(destination())) {
      if (entry.path().string().find(".safetensors") != std::string::npos) {
        weights.push_back(entry.path());
      }
    }
    std::ranges::sort(weights);
    const fs::path& damaged = weights[random() % weights.size()];
    flip(damaged, random() % fs::file_size(damaged));
    expect_the_same_in_the_end();
    fs::remove_all(destination());
  }
}

TEST_F(QuantizerResumeTest, ReadsTheJournalUpToALineThatMakesNoSense) {
  std::mt19937 random(34);
  for (int round = 0; round < kRounds; ++round) {
    stop_after(kModules - 2);
    const std::string text = read_text_file(journal()).value();
    const size_t first_line = text.find('\n') + 1;
    flip(journal(), first_line + random() % (text.size() - first_line));
    expect_the_same_in_the_end();
    fs::remove_all(destination());
  }
}

TEST_F(QuantizerResumeTest, AShardThatIsGoneIsMadeAgain) {
  stop_after(kModules - 1);
  const std::string second = std::next(undisturbed_.lower_bound("model-"))->first;
  ASSERT_TRUE(second.starts_with("model-00002-of-")) << second;
  ASSERT_TRUE(fs::remove(destination() / second));
  EXPECT_FALSE(expect_the_same_in_the_end().empty());
}

TEST_F(QuantizerResumeTest, GoesOnWithOtherThreads) {
  stop_after(kModules / 2);
  RecordingEncoder encoder(kKvScales);
  QuantizeOptions threaded = options(encoder);
  threaded.num_threads = 3;
  ASSERT_TRUE(quantize(threaded));
  EXPECT_TRUE(contents(destination()) == undisturbed_);
}

TEST_F(QuantizerResumeTest, TellsWhatAnEarlierRunHasMade) {
  stop_after(kModules / 2);
  RecordingEncoder encoder(kKvScales);
  QuantizeOptions watched = options(encoder);
  QuantizeProgress last;
  int64_t newly_made = 0;
  watched.on_progress = [&](const QuantizeProgress& progress) {
    if (progress.resumed_parameters == last.resumed_parameters) {
      newly_made += progress.parameters - last.parameters;
    }
    last = progress;
  };
  ASSERT_TRUE(quantize(watched));
  EXPECT_GT(last.resumed_parameters, 0);
  EXPECT_EQ(last.resumed_parameters + newly_made, last.total_parameters);
}

TEST_F(QuantizerResumeTest, RefusesOtherOptionsAndNamesThem) {
  stop_after(kModules / 2);
  const auto before = contents(destination());
  const auto expect_refusal = [&](const QuantizeOptions& other, const std::string& what) {
    const auto report = quantize(other);
    ASSERT_FALSE(report);
    EXPECT_THAT(report.error().message, HasSubstr(what));
    EXPECT_THAT(report.error().message, HasSubstr("--overwrite"));
    EXPECT_TRUE(contents(destination()) == before) << "it must be untouched";
  };
  RecordingEncoder encoder(kKvScales);
  QuantizeOptions other = options(encoder);
  other.format = TargetFormat::nvfp4;
  expect_refusal(other, "options.format was \"mxfp4_16\" and is \"nvfp4\" now");
  other = options(encoder);
  other.keep = {"model.layers.0.*"};
  expect_refusal(other, "options.keep was [] and is [\"model.layers.0.*\"] now");
  other = options(encoder);
  other.max_shard_bytes = 7000;
  expect_refusal(other, "options.max_shard_bytes was 6000 and is 7000 now");
  RecordingEncoder other_scales({{0.5f, 0.25f}, {3.0f, 7.0f}});
  expect_refusal(options(other_scales), "options.encoder.kv_scales");
  PlainEncoder other_search(ScaleSearch::amax, kKvScales);
  expect_refusal(options(other_search), "options.encoder.scale_search");
}

TEST_F(QuantizerResumeTest, RefusesAnotherTrainingOfTheSameModel) {
  stop_after(kModules / 2);
  Tensors model = random_model();
  model.at("model.norm.weight").bytes[5] ^= std::byte{1};
  write_source(model);
  RecordingEncoder encoder(kKvScales);
  const auto report = quantize(options(encoder));
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, HasSubstr("source.model.safetensors.sample"));
  QuantizeOptions anew = options(encoder);
  anew.overwrite = true;
  ASSERT_TRUE(quantize(anew));
  EXPECT_FALSE(contents(destination()) == undisturbed_);
}

TEST_F(QuantizerResumeTest, OverwriteStartsAnew) {
  stop_after(kModules - 1);
  RecordingEncoder encoder(kKvScales);
  QuantizeOptions anew = options(encoder);
  anew.overwrite = true;
  ASSERT_TRUE(quantize(anew));
  EXPECT_EQ(encoder.asked, asked_);
  EXPECT_TRUE(contents(destination()) == undisturbed_);
}

TEST_F(QuantizerResumeTest, AJournalWithoutItsRunCannotBeContinued) {
  stop_after(kModules / 2);
  truncate(journal(), 10);
  RecordingEncoder encoder(kKvScales);
  const auto report = quantize(options(encoder));
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, HasSubstr(kJournalFileName));
  EXPECT_THAT(report.error().message, HasSubstr("--overwrite"));
}

TEST_F(QuantizerResumeTest, WhatIsCompleteIsVerified) {
  expect_the_same_in_the_end();
  RecordingEncoder encoder(kKvScales);
  const auto again = quantize(options(encoder));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(again->was_complete);
  EXPECT_TRUE(encoder.asked.empty());
  EXPECT_TRUE(contents(destination()) == undisturbed_);

  QuantizeOptions other = options(encoder);
  other.format = TargetFormat::bf16;
  const auto refused = quantize(other);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("options.format"));

  const fs::path damaged = destination() / undisturbed_.lower_bound("model-")->first;
  flip(damaged, fs::file_size(damaged) - 1);
  const auto report = quantize(options(encoder));
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, HasSubstr(damaged.string()));
  EXPECT_THAT(report.error().message, HasSubstr("--overwrite"));
}

TEST_F(QuantizerResumeTest, TheManifestHasTheDigestsOfAllOtherFiles) {
  const json::value manifest = parse_json(undisturbed_.at("quantize_manifest.json")).value();
  const json::object& files = manifest.at("files").as_object();
  EXPECT_EQ(files.size() + 1, undisturbed_.size());
  for (const auto& [name, text] : undisturbed_) {
    if (name == "quantize_manifest.json") continue;
    ASSERT_TRUE(files.contains(name)) << name;
    EXPECT_EQ(files.at(name).at("bytes"), text.size());
  }
  EXPECT_EQ(undisturbed_.at("quantize_manifest.json").find(destination().string()),
            std::string::npos);
}

TEST_F(QuantizerResumeTest, OneProcessAtATime) {
  fs::create_directories(destination());
  {
    const auto held = FileLock::take(destination() / kLockFileName);
    ASSERT_TRUE(held) << held.error().message;
    RecordingEncoder encoder(kKvScales);
    const auto report = quantize(options(encoder));
    ASSERT_FALSE(report);
    EXPECT_THAT(report.error().message, HasSubstr("another process"));
    EXPECT_THAT(report.error().message, HasSubstr(kLockFileName));
    EXPECT_TRUE(encoder.asked.empty());
  }
  expect_the_same_in_the_end();
}

/// A limit of the process on the size of its files stands for a disk that is full: errors of both
/// are met at the same places.
TEST_F(QuantizerResumeTest, AFullDiskIsAClearErrorAndCanBeContinued) {
  uint64_t largest = 0;
  for (const auto& [name, text] : undisturbed_)
    largest = std::max<uint64_t>(largest, text.size());
  for (uint64_t limit = 200; limit < largest; limit += 700) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const rlimit file_size{limit, limit};
      ::setrlimit(RLIMIT_FSIZE, &file_size);
      ::signal(SIGXFSZ, SIG_IGN);
      RecordingEncoder encoder(kKvScales);
      const auto report = quantize(options(encoder));
      const bool is_clear = !report && report.error().code == ErrorCode::resource_exhausted &&
                            report.error().message.find("destination") != std::string::npos &&
                            report.error().message.find("bytes are needed") != std::string::npos;
      if (!is_clear) fmt::print("{}\n", report ? "no error" : report.error().message);
      ::_exit(is_clear ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "limit " << limit;
    EXPECT_FALSE(Checkpoint::open(destination()));
    expect_the_same_in_the_end();
    fs::remove_all(destination());
  }
}

}  // namespace
}  // namespace tetrad
