// tetrad bench structured: what it costs to hold answers to a schema, without a model.

#include <fmt/format.h>

#include <filesystem>
#include <vector>

#include "base/clock.h"
#include "bench/statistics.h"
#include "cli_io.h"
#include "grammar/json_schema.h"
#include "grammar/token_matcher.h"
#include "text/tokenizer.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct BenchStructuredFlags {
  std::string model;
  std::string input = "-";
};

double microseconds_since(Seconds begin) {
  return (SteadyClock().now() - begin).count() * 1e6;
}

/// What each token of a text took.
struct TokenTimes {
  std::vector<double> mask;    // µs
  std::vector<double> accept;  // µs
};

Result<TokenTimes> follow(const std::shared_ptr<grammar::MaskCache>& cache,
                          const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  constexpr int64_t kPlentyOfTokens = 1'000'000;
  TokenTimes times;
  grammar::TokenMatcher matcher(cache, tokenizer);
  for (const TokenId id : ids) {
    Seconds begin = SteadyClock().now();
    const TokenSet& allowed = matcher.allowed(kPlentyOfTokens);
    times.mask.push_back(microseconds_since(begin));
    if (!allowed.contains(id)) {
      return fail_param("document", "the schema does not allow the document's token {} (\"{}\")",
                        times.mask.size() - 1, tokenizer.token_bytes(id));
    }
    begin = SteadyClock().now();
    TETRAD_TRY(matcher.accept(id));
    times.accept.push_back(microseconds_since(begin));
  }
  return times;
}

json::object summary_of(const std::vector<double>& times) {
  json::object summary;
  const auto distribution = bench::distribution_of(times);
  if (!distribution) return summary;
  summary["mean_us"] = distribution->mean;
  summary["median_us"] = distribution->median;
  summary["p90_us"] = distribution->percentiles[1];
  summary["p99_us"] = distribution->percentiles[3];
  return summary;
}

Result<json::object> measure(const json::object& line, const Tokenizer& tokenizer,
                             const std::shared_ptr<const grammar::TokenTrie>& trie) {
  warn_of_unknown_fields(line, {"schema", "document"});
  const json::value* schema = line.if_contains("schema");
  if (schema == nullptr) return fail_param("schema", "\"schema\" is missing");
  TETRAD_ASSIGN(const std::string document, string_field(line, "document"));
  TETRAD_ASSIGN(const std::vector<TokenId> ids, tokenizer.encode(document, SpecialTokens::ignore));

  const Seconds begin = SteadyClock().now();
  grammar::Builder builder;
  TETRAD_ASSIGN(const grammar::NodeId root, add_json_schema(builder, *schema, "schema"));
  TETRAD_ASSIGN(grammar::Grammar grammar, std::move(builder).finish(root));
  json::object report;
  report["num_tokens"] = ids.size();
  report["vocab_size"] = tokenizer.vocab_size();
  report["compile_ms"] = microseconds_since(begin) / 1e3;
  const auto cache = std::make_shared<grammar::MaskCache>(
      std::make_shared<const grammar::Grammar>(std::move(grammar)), trie);
  for (const char* pass : {"first", "again"}) {
    TETRAD_ASSIGN(const TokenTimes times, follow(cache, tokenizer, ids));
    json::object part;
    part["mask"] = summary_of(times.mask);
    part["accept"] = summary_of(times.accept);
    report[pass] = std::move(part);
  }
  return report;
}

int run(const BenchStructuredFlags& flags) {
  const auto tokenizer =
      Tokenizer::from_file(std::filesystem::path(flags.model) / "tokenizer.json");
  if (!tokenizer) return report(tokenizer.error());
  const auto trie = std::make_shared<const grammar::TokenTrie>(*tokenizer);
  return for_each_json_line(
      flags.input, [&](const json::object& line) { return measure(line, *tokenizer, trie); });
}

}  // namespace

void add_bench_structured(CLI::App& bench, int& exit_status) {
  auto flags = std::make_shared<BenchStructuredFlags>();
  CLI::App* verb = bench.add_subcommand(
      "structured",
      R"(Time to hold a document to its schema, token by token: {"schema","document"} -> {"compile_ms","first","again"})");
  verb->add_option("MODEL", flags->model, "folder with tokenizer.json")->required();
  verb->add_option("--input", flags->input, "file of JSON lines; -: standard input");
  verb->footer(R"(Example:
  echo '{"schema":{"type":"integer"},"document":"42"}' | tetrad bench structured models/tetrad-demo-mxfp4_16)");
  verb->callback([flags, &exit_status] { exit_status = run(*flags); });
}

}  // namespace tetrad
