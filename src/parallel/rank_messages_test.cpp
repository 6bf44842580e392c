#include "parallel/rank_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "parallel/forwarding_communicator_for_tests.h"
#include "parallel/ranks_for_tests.h"

namespace tetrad::parallel {
namespace {

using testing::HasSubstr;
using Ranks = std::shared_ptr<Communicator>;

std::vector<std::byte> payload_of(size_t size) {
  std::vector<std::byte> payload(size);
  for (size_t i = 0; i < size; ++i)
    payload[i] = static_cast<std::byte>(i * 7 + i / 256);
  return payload;
}

/// Changes what comes from rank 0, as somebody on the way may.
class Meddler final : public ForwardingCommunicator {
 public:
  using Change = std::function<void(std::span<std::byte>)>;
  Meddler(Ranks ranks, Change change)
      : ForwardingCommunicator(std::move(ranks)), change_(std::move(change)) {}
  Result<void> broadcast(std::span<std::byte> bytes, int root) override {
    TETRAD_TRY(ForwardingCommunicator::broadcast(bytes, root));
    change_(bytes);
    return {};
  }

 private:
  Change change_;
};

TEST(RankMessages, ArriveAsTheyWereSent) {
  const std::vector<size_t> sizes{0, 1, 100, kFrameBytes - 56, kFrameBytes - 55, 5000, 100'000};
  const auto received = on_all_ranks<std::string>(3, [&](const Ranks& ranks) -> std::string {
    const auto key = MessageKey::exchange(*ranks, std::nullopt).value();
    RankMessages messages(ranks, key);
    messages.set_max_payload_bytes(100'000);
    for (uint32_t kind = 0; kind < sizes.size(); ++kind) {
      const auto payload = payload_of(sizes[kind]);
      if (ranks->rank() == 0) {
        if (auto sent = messages.send(kind, payload); !sent) return sent.error().message;
        continue;
      }
      const auto message = messages.receive();
      if (!message) return message.error().message;
      if (message->kind != kind || !std::ranges::equal(message->payload, payload))
        return fmt::format("message {} is another", kind);
    }
    return "";
  });
  EXPECT_THAT(received, testing::Each(""));
}

/// What rank 1 says to a message of `size` bytes that was changed on its way.
std::string said_to_changed(size_t size, const Meddler::Change& change) {
  const auto said = on_all_ranks<std::string>(2, [&](const Ranks& ranks) -> std::string {
    const auto key = MessageKey::exchange(*ranks, "a secret of these ranks").value();
    if (ranks->rank() == 0) {
      RankMessages messages(ranks, key);
      static_cast<void>(messages.send(1, payload_of(size)));
      return "";
    }
    RankMessages messages(std::make_shared<Meddler>(ranks, change), key);
    const auto message = messages.receive();
    return message ? "taken" : message.error().message;
  });
  return said[1];
}

TEST(RankMessages, ThatSomebodyChangedAreRefused) {
  EXPECT_EQ(said_to_changed(100, [](std::span<std::byte>) {}), "taken");
  for (const size_t place : {0u, 31u, 40u, 48u, 52u, 56u, 155u}) {
    const std::string said =
        said_to_changed(100, [&](std::span<std::byte> bytes) { bytes[place] ^= std::byte{4}; });
    EXPECT_THAT(said, HasSubstr("is said to be rank 0's is not")) << "byte " << place;
  }
  EXPECT_THAT(said_to_changed(100, [](auto bytes) { bytes[32] ^= std::byte{1}; }),
              HasSubstr("no message of tetrad's"));
  EXPECT_THAT(said_to_changed(100, [](auto bytes) { bytes[36] = std::byte{2}; }),
              HasSubstr("version 2, and not 1"));
  EXPECT_THAT(said_to_changed(100, [](auto bytes) { bytes[45] = std::byte{9}; }),
              HasSubstr("bytes, and 256 were agreed"));
}

TEST(RankMessages, OfYesterdayAreRefused) {
  std::vector<std::byte> first;
  const auto said = on_all_ranks<std::string>(2, [&](const Ranks& ranks) -> std::string {
    const auto key = MessageKey::exchange(*ranks, std::nullopt).value();
    if (ranks->rank() == 0) {
      RankMessages messages(ranks, key);
      static_cast<void>(messages.send(1, {}));
      static_cast<void>(messages.send(1, {}));
      return "";
    }
    const auto replay = [&](std::span<std::byte> bytes) {
      if (first.empty()) first.assign(bytes.begin(), bytes.end());
      std::ranges::copy(first, bytes.begin());
    };
    RankMessages messages(std::make_shared<Meddler>(ranks, replay), key);
    if (!messages.receive()) return "the first was refused";
    const auto again = messages.receive();
    return again ? "taken" : again.error().message;
  });
  EXPECT_EQ(said[1], "message 0 from rank 0 comes where 1 is the next");
}

TEST(RankMessages, LongerThanAgreedAreNotSent) {
  const auto said = on_all_ranks<std::string>(1, [&](const Ranks& ranks) -> std::string {
    RankMessages messages(ranks, MessageKey::exchange(*ranks, std::nullopt).value());
    return messages.send(1, payload_of(257)).error().message;
  });
  EXPECT_THAT(said[0], HasSubstr("257 bytes"));
}

/// What each rank says to the exchange of keys, by the secret that it has.
std::vector<std::string> said_to_secrets(
    const std::vector<std::optional<std::string>>& secret_of_rank) {
  return on_all_ranks<std::string>(
      static_cast<int>(secret_of_rank.size()), [&](const Ranks& ranks) -> std::string {
        const auto& secret = secret_of_rank[static_cast<size_t>(ranks->rank())];
        const auto key = MessageKey::exchange(*ranks, secret);
        return key ? "" : key.error().message;
      });
}

TEST(MessageKey, NeedsTheSameSecretOnAllRanks) {
  const std::string secret = "nobody knows this";
  EXPECT_THAT(said_to_secrets({secret, secret, secret}), testing::Each(""));
  EXPECT_THAT(said_to_secrets({std::nullopt, std::nullopt}), testing::Each(""));
  EXPECT_THAT(said_to_secrets({secret, secret, std::nullopt}),
              testing::Each(HasSubstr("rank 0 has a TETRAD_RANK_SECRET and rank 2 has none")));
  EXPECT_THAT(said_to_secrets({std::nullopt, secret}),
              testing::Each(HasSubstr("rank 1 has a TETRAD_RANK_SECRET and rank 0 has none")));
  const auto said = said_to_secrets({secret, "another secret 123"});
  EXPECT_THAT(said[0], HasSubstr("rank 1 has another TETRAD_RANK_SECRET than rank 0"));
  EXPECT_THAT(said[1], HasSubstr("rank 0 has another TETRAD_RANK_SECRET than rank 1"));
}

TEST(MessageKey, IsAnotherEachTimeAndForEachSecret) {
  const auto mac = [](const std::optional<std::string>& secret) {
    return on_all_ranks<std::array<std::byte, kMacBytes>>(1, [&](const Ranks& ranks) {
      return MessageKey::exchange(*ranks, secret).value().mac_of({});
    })[0];
  };
  EXPECT_NE(mac(std::nullopt), mac(std::nullopt));
  EXPECT_NE(mac("the same secret"), mac("the same secret"));
}

}  // namespace
}  // namespace tetrad::parallel
