#include "chat/json_tree.h"

#include <boost/json/basic_parser_impl.hpp>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "base/json.h"

namespace tetrad {
namespace {

/// Keeps one value for each key.
void unite_repeated_keys(std::vector<JsonTree>& members) {
  std::unordered_map<std::string_view, size_t> first;
  std::vector<JsonTree> united;
  united.reserve(members.size());  // the keys are looked at where they stay
  for (JsonTree& member : members) {
    if (const auto known = first.find(member.key); known != first.end()) {
      std::swap(united[known->second].text, member.text);
      std::swap(united[known->second].children, member.children);
      united[known->second].kind = member.kind;
      continue;
    }
    united.push_back(std::move(member));
    first.emplace(united.back().key, united.size() - 1);
  }
  members = std::move(united);
}

/// A Boost.JSON handler that builds the tree.
class JsonTreeBuilder {
 public:
  static constexpr size_t max_object_size = SIZE_MAX;
  static constexpr size_t max_array_size = SIZE_MAX;
  static constexpr size_t max_key_size = SIZE_MAX;
  static constexpr size_t max_string_size = SIZE_MAX;

  JsonTree root;

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) { return begin(JsonTree::Kind::object); }
  bool on_object_end(size_t, json::error_code&) {
    unite_repeated_keys(open_.back().children);
    return end();
  }
  bool on_array_begin(json::error_code&) { return begin(JsonTree::Kind::array); }
  bool on_array_end(size_t, json::error_code&) { return end(); }
  bool on_key_part(json::string_view part, size_t, json::error_code&) { return collect(part); }
  bool on_key(json::string_view part, size_t, json::error_code&) {
    collect(part);
    key_ = std::exchange(text_, std::string());
    return true;
  }
  bool on_string_part(json::string_view part, size_t, json::error_code&) { return collect(part); }
  bool on_string(json::string_view part, size_t, json::error_code&) {
    return collect(part) && add(JsonTree::Kind::string);
  }
  bool on_number_part(json::string_view part, json::error_code&) { return collect(part); }
  bool on_int64(int64_t, json::string_view part, json::error_code&) {
    return collect(part) && add(JsonTree::Kind::number);
  }
  bool on_uint64(uint64_t, json::string_view part, json::error_code&) {
    return collect(part) && add(JsonTree::Kind::number);
  }
  bool on_double(double number, json::string_view part, json::error_code& ec) {
    if (!std::isfinite(number)) ec = json::error::syntax;
    return collect(part) && add(JsonTree::Kind::number) && !ec;
  }
  bool on_bool(bool value, json::error_code&) {
    text_ = value ? "true" : "false";
    return add(JsonTree::Kind::literal);
  }
  bool on_null(json::error_code&) {
    text_ = "null";
    return add(JsonTree::Kind::literal);
  }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  bool collect(json::string_view part) {
    text_.append(part.data(), part.size());
    return true;
  }
  bool begin(JsonTree::Kind kind) {
    open_.push_back({.kind = kind, .key = std::exchange(key_, std::string())});
    return true;
  }
  bool end() {
    JsonTree done = std::move(open_.back());
    open_.pop_back();
    return place(std::move(done));
  }
  bool add(JsonTree::Kind kind) {
    return place({.kind = kind,
                  .text = std::exchange(text_, std::string()),
                  .key = std::exchange(key_, std::string())});
  }
  bool place(JsonTree value) {
    if (open_.empty()) {
      root = std::move(value);
    } else {
      open_.back().children.push_back(std::move(value));
    }
    return true;
  }

  std::vector<JsonTree> open_;
  std::string key_;
  std::string text_;
};

}  // namespace

std::optional<JsonTree> parse_json_tree(std::string_view text, size_t max_depth) {
  json::parse_options options;
  options.max_depth = max_depth;
  json::basic_parser<JsonTreeBuilder> parser(options);
  json::error_code ec;
  const size_t consumed = parser.write_some(false, text.data(), text.size(), ec);
  if (ec || text.find_first_not_of(" \t\r\n", consumed) != std::string_view::npos)
    return std::nullopt;
  return std::move(parser.handler().root);
}

}  // namespace tetrad
