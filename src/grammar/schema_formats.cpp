#include "grammar/schema_formats.h"

#include <fmt/format.h>

#include <string>

namespace tetrad::grammar {
namespace {

// Host names: labels of 63 characters, in each of 253 places.
constexpr AutomatonLimits kFormatLimits = {.max_states = 60'000};

/// RFC 3339, with the days that each month has.
std::string date_regex() {
  constexpr std::string_view kLeapYear =
      "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)";
  return fmt::format(
      "([0-9]{{4}}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|"
      "02-(0[1-9]|1[0-9]|2[0-8]))|{}-02-29)",
      kLeapYear);
}

/// RFC 3339; a leap second only where one can be, at the end of a day in UTC.
std::string time_regex() {
  return "(([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?"
         "([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])|23:59:60(\\.[0-9]+)?([Zz]|[+-]00:00))";
}

/// RFC 3339, appendix A.
std::string duration_regex() {
  constexpr std::string_view kTime = "T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S)";
  constexpr std::string_view kDate = "([0-9]+D|[0-9]+M([0-9]+D)?|[0-9]+Y([0-9]+M([0-9]+D)?)?)";
  return fmt::format("P({}({})?|{}|[0-9]+W)", kDate, kTime, kTime);
}

std::string ipv4_regex() {
  constexpr std::string_view kByte = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
  return fmt::format("{0}\\.{0}\\.{0}\\.{0}", kByte);
}

/// RFC 4291, section 2.2: eight groups, of which "::" may stand for two or more, and the last two
/// of which may be an IPv4 address.
std::string ipv6_regex() {
  constexpr std::string_view kGroup = "[0-9A-Fa-f]{1,4}";
  const std::string last = fmt::format("({0}:{0}|{1})", kGroup, ipv4_regex());
  std::string regex = fmt::format("({}:){{6}}{}", kGroup, last);
  // `before` groups, then "::", then `after` ones and the last two.
  for (int before = 0; before <= 5; ++before) {
    const std::string front =
        before == 0 ? "" : fmt::format("{0}(:{0}){{{1}}}", kGroup, before - 1);
    const int most = 5 - before;
    if (most >= 0)
      regex += fmt::format("|{}::({}:){{0,{}}}{}", front, kGroup, std::min(most, 5), last);
  }
  for (int before = 0; before <= 7; ++before) {
    const std::string front =
        before == 0 ? "" : fmt::format("{0}(:{0}){{{1}}}", kGroup, before - 1);
    regex += fmt::format("|{}::", front);
    if (before <= 6) regex += fmt::format("({})?", kGroup);
  }
  return regex;
}

/// RFC 5321's Mailbox without quoted names and address literals, at a domain of two labels or more.
std::string email_regex() {
  constexpr std::string_view kAtom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~\\-]+";
  constexpr std::string_view kLabel = "[A-Za-z0-9]([A-Za-z0-9\\-]{0,61}[A-Za-z0-9])?";
  return fmt::format("{0}(\\.{0})*@({1}\\.)+{1}", kAtom, kLabel);
}

/// RFC 1123.
Result<Automaton> hostname_texts() {
  constexpr std::string_view kLabel = "[A-Za-z0-9]([A-Za-z0-9\\-]{0,61}[A-Za-z0-9])?";
  TETRAD_ASSIGN(const Automaton labels,
                parse_regex(fmt::format("{0}(\\.{0})*", kLabel), RegexMatch::whole, kFormatLimits));
  TETRAD_ASSIGN(const Automaton length, Automaton::length(1, 253, kFormatLimits));
  return labels.intersect(length, kFormatLimits);
}

std::string regex_of_format(std::string_view format) {
  if (format == "date") return date_regex();
  if (format == "time") return time_regex();
  if (format == "date-time") return fmt::format("{}[Tt]{}", date_regex(), time_regex());
  if (format == "duration") return duration_regex();
  if (format == "email") return email_regex();
  if (format == "ipv4") return ipv4_regex();
  if (format == "ipv6") return ipv6_regex();
  if (format == "uuid")
    return "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}";
  return "";
}

}  // namespace

std::optional<Result<Automaton>> format_texts(std::string_view format) {
  if (format == "hostname") return hostname_texts();
  const std::string regex = regex_of_format(format);
  if (regex.empty()) return std::nullopt;
  return parse_regex(regex, RegexMatch::whole, kFormatLimits);
}

}  // namespace tetrad::grammar
