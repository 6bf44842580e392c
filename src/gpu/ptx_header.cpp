#include "gpu/ptx_header.h"

namespace tetrad::gpu {
namespace {

/// What follows `directive` at the beginning of a line, up to a space, comma or the line's end.
std::string directive_value(std::string_view ptx, std::string_view directive) {
  for (size_t at = 0; at < ptx.size();) {
    const std::string_view line = ptx.substr(at, ptx.find('\n', at) - at);
    if (line.starts_with(directive)) {
      const size_t begin = line.find_first_not_of(" \t", directive.size());
      if (begin == std::string_view::npos) return "";
      return std::string(line.substr(begin, line.find_first_of(" \t\r,", begin) - begin));
    }
    at += line.size() + 1;
  }
  return "";
}

}  // namespace

PtxHeader read_ptx_header(std::string_view ptx) {
  return {directive_value(ptx, ".version"), directive_value(ptx, ".target")};
}

std::string_view ptx_for(std::string_view architecture, std::span<const std::string_view> texts) {
  std::string_view for_any;
  for (const std::string_view text : texts) {
    const std::string target = read_ptx_header(text).target;
    if (!target.ends_with('a')) {
      if (for_any.empty()) for_any = text;
    } else if (std::string_view(target).substr(0, target.size() - 1) == architecture) {
      return text;
    }
  }
  return for_any;
}

}  // namespace tetrad::gpu
