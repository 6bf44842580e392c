// Publishes as many events as it is told to, for subscribers to judge: stream.py.
//
//   publish CONFIG
//
// Reads lines: "store BATCHES BLOCKS" reports so many steps that store so many blocks each,
// "remove BATCHES" as many that remove one each, "counters" prints what was published, dropped and
// missed. It first prints both endpoints.

#include <fmt/format.h>

#include <cstdio>
#include <iostream>
#include <numeric>
#include <sstream>
#include <string>

#include "kv_events/event_collector.h"
#include "kv_events/zmq_publisher.h"

namespace tetrad::kv_events {
namespace {

/// Names its blocks 1, 2, 3, …; the tokens of block n are 16n, 16n + 1, …
class Author {
 public:
  explicit Author(EngineObserver& observer) : observer_(observer) {}

  void store(int64_t batches, int64_t blocks) {
    for (int64_t i = 0; i < batches; ++i) {
      std::vector<PrefixHash> hashes;
      std::vector<TokenId> tokens(static_cast<size_t>(blocks * kKvBlockSize));
      std::iota(tokens.begin(), tokens.end(), static_cast<TokenId>((last_ + 1) * kKvBlockSize));
      const PrefixHash parent{.low = last_, .high = 0};
      for (int64_t block = 0; block < blocks; ++block)
        hashes.push_back({.low = ++last_, .high = 0});
      StoredBlocks stored{.hashes = hashes, .tokens = tokens};
      if (parent.low > 0) stored.parent = parent;
      observer_.on_blocks_stored(stored);
      observer_.on_step({});
    }
  }
  void remove(int64_t batches) {
    for (int64_t i = 0; i < batches; ++i) {
      observer_.on_block_removed({.low = last_--, .high = 0});
      observer_.on_step({});
    }
  }

 private:
  EngineObserver& observer_;
  uint64_t last_ = 0;
};

void say(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

int run(const std::string& config_text) {
  const auto config = parse_kv_events_config(config_text);
  if (!config) {
    say(config.error().message);
    return 1;
  }
  metrics::Registry registry;
  const auto publisher = start_kv_event_publisher(*config, registry, {});
  if (!publisher) {
    say(publisher.error().message);
    return 1;
  }
  say(fmt::format("{} {}", (*publisher)->endpoint(), (*publisher)->replay_endpoint()));
  Author author(*(*publisher)->observer());
  const KvEventCounters counters = KvEventCounters::in(registry, {});
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string verb;
    int64_t batches = 0;
    int64_t blocks = 0;
    words >> verb >> batches >> blocks;
    if (verb == "store") author.store(batches, blocks);
    if (verb == "remove") author.remove(batches);
    if (verb == "counters") {
      say(fmt::format("{} {} {}", counters.published.value(), counters.dropped.value(),
                      counters.missed.value()));
    } else {
      say("done");
    }
  }
  return 0;
}

}  // namespace
}  // namespace tetrad::kv_events

int main(int argc, char** argv) {
  return argc == 2 ? tetrad::kv_events::run(argv[1]) : 2;
}
