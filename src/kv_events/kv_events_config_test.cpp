#include "kv_events/kv_events_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tetrad::kv_events {
namespace {

using testing::HasSubstr;

KvEventsConfig parsed(std::string_view text) {
  const auto config = parse_kv_events_config(text);
  EXPECT_TRUE(config) << config.error().message;
  return config.value_or(KvEventsConfig{});
}

TEST(KvEventsConfig, DefaultsAreVllmsButForTheEndpoint) {
  const KvEventsConfig config = parsed(R"({"enable_kv_cache_events": true})");
  EXPECT_TRUE(config.enabled);
  EXPECT_EQ(config.endpoint, "tcp://127.0.0.1:5557");
  EXPECT_TRUE(config.bind);
  EXPECT_EQ(config.replay_endpoint, "");
  EXPECT_EQ(config.buffer_steps, 10'000);
  EXPECT_EQ(config.hwm, 100'000);
  EXPECT_EQ(config.max_queue_size, 100'000);
  EXPECT_EQ(config.topic, "");
  EXPECT_TRUE(check_is_local(config));
}

TEST(KvEventsConfig, ItMustBeAskedFor) {
  EXPECT_FALSE(parsed("{}").enabled);
  EXPECT_FALSE(parsed(R"({"enable_kv_cache_events": true, "publisher": "null"})").enabled);
  EXPECT_FALSE(parsed(R"({"publisher": "zmq"})").enabled);
  EXPECT_TRUE(parsed(R"({"enable_kv_cache_events": true, "publisher": null})").enabled);
}

TEST(KvEventsConfig, AllFields) {
  const KvEventsConfig config = parsed(
      R"({"enable_kv_cache_events": true, "publisher": "zmq", "endpoint": "tcp://*:1", "bind": true,
          "replay_endpoint": "ipc:///tmp/replay", "buffer_steps": 3, "hwm": 4, "max_queue_size": 5,
          "topic": "kv@a"})");
  EXPECT_EQ(config.endpoint, "tcp://*:1");
  EXPECT_EQ(config.replay_endpoint, "ipc:///tmp/replay");
  EXPECT_EQ(config.buffer_steps, 3);
  EXPECT_EQ(config.hwm, 4);
  EXPECT_EQ(config.max_queue_size, 5);
  EXPECT_EQ(config.topic, "kv@a");
}

TEST(KvEventsConfig, WhatIsBoundAndWhatIsConnectedTo) {
  const auto binds = [](std::string_view endpoint, std::string_view more = "") {
    return parsed(fmt::format(R"({{"endpoint": "{}"{}}})", endpoint, more)).bind;
  };
  EXPECT_TRUE(binds("tcp://*:5557"));
  EXPECT_TRUE(binds("tcp://[::]:5557"));
  EXPECT_TRUE(binds("tcp://127.0.0.1:*"));
  EXPECT_TRUE(binds("ipc:///run/kv"));
  EXPECT_FALSE(binds("tcp://router:5557"));
  EXPECT_FALSE(binds("tcp://10.0.0.3:5557"));
  EXPECT_TRUE(binds("tcp://10.0.0.3:5557", R"(, "bind": true)"));
  EXPECT_FALSE(binds("tcp://127.0.0.1:5557", R"(, "bind": false)"));
}

TEST(KvEventsConfig, OtherMachinesMayNotReadUnasked) {
  const auto complaint = [](std::string_view text) {
    const auto local = check_is_local(parsed(text));
    return local ? "" : local.error().message;
  };
  EXPECT_EQ(complaint(R"({"endpoint": "tcp://127.0.0.1:1", "replay_endpoint": "tcp://[::1]:2"})"),
            "");
  EXPECT_EQ(complaint(R"({"endpoint": "ipc:///run/kv"})"), "");
  EXPECT_EQ(complaint(R"({"endpoint": "tcp://router:5557"})"), "");  // goes there, and nowhere else
  EXPECT_THAT(complaint(R"({"endpoint": "tcp://*:5557"})"),
              HasSubstr("\"endpoint\" tcp://*:5557 can be reached from other machines"));
  EXPECT_THAT(complaint(R"({"endpoint": "tcp://[::]:5557"})"),
              HasSubstr("--allow-unauthenticated"));
  EXPECT_THAT(complaint(R"({"endpoint": "tcp://10.0.0.3:1", "bind": true})"),
              HasSubstr("endpoint"));
  EXPECT_THAT(complaint(R"({"replay_endpoint": "tcp://*:5558"})"), HasSubstr("replay_endpoint"));
}

TEST(KvEventsConfig, ErrorsNameTheField) {
  for (const auto& [text, reason] : {
           std::pair{"", "expected a JSON object such as"},
           {"[]", "expected a JSON object such as"},
           {"{", "expected a JSON object such as"},
           {R"({"enable": true})", "unknown field \"enable\"; known are enable_kv_cache_events"},
           {R"({"enable_kv_cache_events": 1})", "\"enable_kv_cache_events\" must be true or false"},
           {R"({"publisher": "kafka"})", "\"publisher\" must be \"zmq\" or \"null\", not 'kafka'"},
           {R"({"endpoint": 5557})", "\"endpoint\" must be a string"},
           {R"({"endpoint": "5557"})", "\"endpoint\" must be as tcp://127.0.0.1:5557"},
           {R"({"endpoint": "tcp://:5557"})", "\"endpoint\" must be as"},
           {R"({"endpoint": "tcp://host"})", "\"endpoint\" must be as"},
           {R"({"endpoint": "tcp://host:"})", "\"endpoint\" must be as"},
           {R"({"replay_endpoint": "udp://a:1"})", "\"replay_endpoint\" must be as"},
           {R"({"hwm": 0})", "\"hwm\" must be a whole number from 1 to 10000000"},
           {R"({"buffer_steps": 1.5})", "\"buffer_steps\" must be a whole number"},
           {R"({"max_queue_size": 99999999999})", "\"max_queue_size\" must be a whole number"},
           {R"({"topic": ["a"]})", "\"topic\" must be a string"},
       }) {
    const auto config = parse_kv_events_config(text);
    ASSERT_FALSE(config) << text;
    EXPECT_THAT(config.error().message, HasSubstr(reason)) << text;
    EXPECT_EQ(config.error().param, "--kv-events-config");
  }
}

}  // namespace
}  // namespace tetrad::kv_events
