#include "api/logprobs_format.h"

#include "text/utf8.h"

namespace tetrad::api {
namespace {

json::array byte_array(std::string_view bytes) {
  json::array array;
  array.reserve(bytes.size());
  for (const char byte : bytes)
    array.emplace_back(static_cast<unsigned char>(byte));
  return array;
}

}  // namespace

std::string LogprobsFormat::token_text(TokenId id) const {
  std::string text;
  append_lossy_utf8(tokenizer_->token_bytes(id), text);
  return text;
}

json::object LogprobsFormat::chat_token(const TokenLogprob& token) const {
  json::object object;
  object["token"] = token_text(token.id);
  object["logprob"] = token.logprob;
  object["bytes"] = byte_array(tokenizer_->token_bytes(token.id));
  return object;
}

json::value LogprobsFormat::chat(std::span<const AnswerToken> tokens) const {
  json::array content;
  for (const AnswerToken& token : tokens) {
    if (!token.logprobs) continue;
    json::array top;
    for (const TokenLogprob& one : token.logprobs->top)
      top.push_back(chat_token(one));
    json::object object = chat_token(token.logprobs->token);
    object["top_logprobs"] = std::move(top);
    content.push_back(std::move(object));
  }
  if (content.empty()) return nullptr;
  json::object logprobs;
  logprobs["content"] = std::move(content);
  logprobs["refusal"] = nullptr;
  return logprobs;
}

json::object LogprobsFormat::top_by_text(const TokenLogprobs& logprobs) const {
  json::object top;
  for (const TokenLogprob& one : logprobs.top)
    top.emplace(token_text(one.id), one.logprob);  // does nothing where the text is there already
  top.emplace(token_text(logprobs.token.id), logprobs.token.logprob);
  return top;
}

json::value LogprobsFormat::completion(std::span<const AnswerToken> tokens) const {
  if (tokens.empty()) return nullptr;
  json::array offsets;
  json::array values;
  json::array texts;
  json::array tops;
  for (const AnswerToken& token : tokens) {
    offsets.emplace_back(token.text_offset);
    texts.emplace_back(token_text(token.id));
    values.emplace_back(nullptr);
    tops.emplace_back(nullptr);
    if (!token.logprobs) continue;
    values.back() = token.logprobs->token.logprob;
    tops.back() = top_by_text(*token.logprobs);
  }
  json::object logprobs;
  logprobs["text_offset"] = std::move(offsets);
  logprobs["token_logprobs"] = std::move(values);
  logprobs["tokens"] = std::move(texts);
  logprobs["top_logprobs"] = std::move(tops);
  return logprobs;
}

json::array LogprobsFormat::prompt(std::span<const TokenLogprobs> tokens) const {
  json::array positions{nullptr};
  for (const TokenLogprobs& position : tokens) {
    json::object by_id;
    const auto add = [&](const TokenLogprob& token, int64_t rank) {
      json::object object;
      object["logprob"] = token.logprob;
      object["rank"] = rank;
      object["decoded_token"] = token_text(token.id);
      by_id.emplace(std::to_string(token.id), std::move(object));
    };
    add(position.token, position.rank);
    int64_t rank = 0;
    for (const TokenLogprob& token : position.top)
      add(token, ++rank);
    positions.push_back(std::move(by_id));
  }
  return positions;
}

}  // namespace tetrad::api
