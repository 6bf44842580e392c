#include "grammar/schema_uri.h"

#include <charconv>
#include <vector>

namespace tetrad::grammar {
namespace {

/// The scheme with its colon; empty: the reference is relative.
std::string_view scheme_of(std::string_view uri) {
  const size_t end = uri.find_first_of(":/?#");
  if (end == std::string_view::npos || uri[end] != ':' || end == 0) return {};
  return uri.substr(0, end + 1);
}

/// "//host" behind the scheme; may be empty.
std::string_view authority_of(std::string_view behind_scheme) {
  if (!behind_scheme.starts_with("//")) return {};
  return behind_scheme.substr(0, behind_scheme.find_first_of("/?#", 2));
}

std::string without_dot_segments(std::string_view path) {
  std::vector<std::string_view> segments;
  const bool absolute = path.starts_with('/');
  bool is_folder = false;
  for (size_t begin = absolute ? 1 : 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view segment = path.substr(begin, end - begin);
    is_folder = segment == "." || segment == "..";
    if (segment == ".." && !segments.empty()) segments.pop_back();
    if (!is_folder) segments.push_back(segment);
    begin = end + 1;
  }
  std::string result = absolute ? "/" : "";
  for (size_t i = 0; i < segments.size(); ++i) {
    if (i > 0) result += '/';
    result += segments[i];
  }
  if (is_folder && !segments.empty()) result += '/';
  return result;
}

}  // namespace

std::string_view uri_fragment(std::string_view uri) {
  const size_t hash = uri.find('#');
  return hash == std::string_view::npos ? std::string_view() : uri.substr(hash + 1);
}

std::string_view without_fragment(std::string_view uri) {
  return uri.substr(0, uri.find('#'));
}

std::string resolve_uri(std::string_view base, std::string_view reference) {
  base = without_fragment(base);
  reference = without_fragment(reference);
  if (reference.empty()) return std::string(base);
  if (!scheme_of(reference).empty()) return std::string(reference);
  const std::string_view scheme = scheme_of(base);
  const std::string_view behind_scheme = base.substr(scheme.size());
  if (reference.starts_with("//")) return std::string(scheme) + std::string(reference);
  const std::string_view authority = authority_of(behind_scheme);
  const std::string_view rest = behind_scheme.substr(authority.size());
  const std::string_view path = rest.substr(0, rest.find('?'));
  const std::string origin = std::string(scheme) + std::string(authority);
  if (reference.starts_with('?')) return origin + std::string(path) + std::string(reference);

  const size_t query_begin = std::min(reference.find('?'), reference.size());
  std::string_view own_path = reference.substr(0, query_begin);
  std::string merged;
  if (!own_path.starts_with('/')) {
    const size_t slash = path.rfind('/');
    if (slash != std::string_view::npos) merged = path.substr(0, slash + 1);
    if (path.empty() && !authority.empty()) merged = "/";
  }
  merged += own_path;
  return origin + without_dot_segments(merged) + std::string(reference.substr(query_begin));
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    unsigned value = 0;
    if (i + 2 >= text.size()) return std::nullopt;
    const char* begin = text.data() + i + 1;
    if (std::from_chars(begin, begin + 2, value, 16).ptr != begin + 2) return std::nullopt;
    result += static_cast<char>(value);
    i += 2;
  }
  return result;
}

}  // namespace tetrad::grammar
