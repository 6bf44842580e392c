#include "grammar/encode_bytes.h"

#include <algorithm>
#include <optional>

#include "grammar/code_point_set.h"
#include "grammar/encode_graph.h"

namespace tetrad::grammar {
namespace {

/// Numbers from low to high, as the last digits of a code point, and where they lead.
struct NumberRange {
  uint32_t low;
  uint32_t high;
  int32_t target;
};

/// Numbers written with a fixed count of digits, most significant first.
class DigitWriter {
 public:
  /// `base`: of the digits.
  DigitWriter(ByteGraph& graph, uint32_t base) : graph_(graph), base_(base) {}
  virtual ~DigitWriter() = default;

  /// The state from which `digits` digits lead to the targets of the ranges, which are ascending,
  /// disjoint and below base ^ digits. No digit: the target of the only range.
  int32_t state(std::span<const NumberRange> ranges, int digits) {
    if (digits == 0) return ranges.front().target;
    return graph_.inner(bytes_of(first_digits(ranges, digits)));
  }

  struct DigitEdge {
    uint32_t low;
    uint32_t high;
    int32_t target;
  };

  /// The edges of the first of `digits` digits.
  std::vector<DigitEdge> first_digits(std::span<const NumberRange> ranges, int digits) {
    uint32_t size = 1;  // how many numbers begin with the same digit
    for (int i = 1; i < digits; ++i)
      size *= base_;
    std::vector<DigitEdge> edges;
    std::vector<NumberRange> part;  // the ranges of the digit at hand
    uint32_t digit = 0;
    const auto end_part = [&] {
      if (part.empty()) return;
      add(edges, {digit, digit, state(part, digits - 1)});
      part.clear();
    };
    for (const NumberRange& range : ranges) {
      for (uint32_t low = range.low; low <= range.high;) {
        const uint32_t first = low / size;
        if (first != digit) end_part();
        digit = first;
        const uint32_t begin = first * size;
        const uint32_t full = (range.high + 1) / size;  // digits below it are covered to their end
        if (low == begin && full > first) {
          const NumberRange whole{0, size - 1, range.target};
          add(edges, {first, full - 1, state({&whole, 1}, digits - 1)});
          low = full * size;
        } else {
          const uint32_t high = std::min(range.high, begin + size - 1);
          part.push_back({low - begin, high - begin, range.target});
          low = high + 1;
        }
      }
    }
    end_part();
    return edges;
  }

 protected:
  virtual std::vector<ByteEdge> bytes_of(const std::vector<DigitEdge>& digits) const = 0;

 private:
  static void add(std::vector<DigitEdge>& edges, DigitEdge edge) {
    if (!edges.empty() && edges.back().target == edge.target && edges.back().high + 1 == edge.low) {
      edges.back().high = edge.high;
    } else {
      edges.push_back(edge);
    }
  }

  ByteGraph& graph_;
  uint32_t base_;
};

/// The bytes behind the first of a character.
class ContinuationWriter : public DigitWriter {
 public:
  explicit ContinuationWriter(ByteGraph& graph) : DigitWriter(graph, 64) {}

 protected:
  std::vector<ByteEdge> bytes_of(const std::vector<DigitEdge>& digits) const override {
    std::vector<ByteEdge> bytes;
    for (const DigitEdge& edge : digits) {
      append_byte_edge(bytes, {static_cast<uint8_t>(0x80 + edge.low),
                               static_cast<uint8_t>(0x80 + edge.high), edge.target});
    }
    return bytes;
  }
};

class HexWriter : public DigitWriter {
 public:
  HexWriter(ByteGraph& graph, bool upper_case) : DigitWriter(graph, 16), upper_case_(upper_case) {}

 protected:
  std::vector<ByteEdge> bytes_of(const std::vector<DigitEdge>& digits) const override {
    std::vector<ByteEdge> bytes;
    add_digits(bytes, digits, 0, 9, '0');
    if (upper_case_) add_digits(bytes, digits, 10, 15, 'A');
    add_digits(bytes, digits, 10, 15, 'a');
    return bytes;
  }

 private:
  static void add_digits(std::vector<ByteEdge>& bytes, const std::vector<DigitEdge>& digits,
                         uint32_t first, uint32_t last, char name) {
    for (const DigitEdge& edge : digits) {
      const uint32_t low = std::max(edge.low, first);
      const uint32_t high = std::min(edge.high, last);
      if (low > high) continue;
      append_byte_edge(
          bytes, {static_cast<uint8_t>(static_cast<uint32_t>(name) + low - first),
                  static_cast<uint8_t>(static_cast<uint32_t>(name) + high - first), edge.target});
    }
  }

  bool upper_case_;
};

struct ShortEscape {
  char32_t code_point;
  char letter;
  bool canonical;
};

constexpr ShortEscape kShortEscapes[] = {
    {'"', '"', true},  {'/', '/', false}, {'\\', '\\', true}, {'\b', 'b', true},
    {'\f', 'f', true}, {'\n', 'n', true}, {'\r', 'r', true},  {'\t', 't', true},
};

bool must_be_escaped(char32_t c) {
  return c < 0x20 || c == '"' || c == '\\';
}

bool has_short_escape(char32_t c) {
  return std::ranges::any_of(kShortEscapes, [&](const ShortEscape& escape) {
    return escape.canonical && escape.code_point == c;
  });
}

/// Writes each state of an automaton over code points as bytes.
class StateEncoder {
 public:
  using Edges = std::span<const CodePointDfa::Edge>;

  StateEncoder(ByteGraph& graph, Encoding encoding)
      : graph_(graph),
        encoding_(encoding),
        continuation_(graph),
        hex_(graph, encoding == Encoding::json_string_any_escapes) {}

  std::vector<ByteEdge> edges_of(Edges edges) {
    std::vector<ByteEdge> bytes;
    add_ascii(bytes, edges);
    add_length(bytes, edges, {0x80, 0x7FF}, 0xC0, 2);
    add_length(bytes, edges, {0x800, 0xFFFF}, 0xE0, 3);
    add_length(bytes, edges, {0x10000, kLastCodePoint}, 0xF0, 4);
    return bytes;
  }

 private:
  void add_ascii(std::vector<ByteEdge>& bytes, Edges edges) {
    if (encoding_ == Encoding::utf8) {
      for (const NumberRange& range : within(edges, {0, 0x7F}))
        append_byte_edge(bytes, ascii_edge(range));
      return;
    }
    add_literal(bytes, edges, {0x20, 0x21});
    add_literal(bytes, edges, {0x23, 0x5B});
    std::vector<ByteEdge> escaped = escapes_of(edges);
    if (!escaped.empty()) append_byte_edge(bytes, {'\\', '\\', graph_.inner(std::move(escaped))});
    add_literal(bytes, edges, {0x5D, 0x7F});
  }

  void add_literal(std::vector<ByteEdge>& bytes, Edges edges, CodePointRange wanted) {
    for (const NumberRange& range : within(edges, wanted))
      append_byte_edge(bytes, ascii_edge(range));
  }

  static ByteEdge ascii_edge(const NumberRange& range) {
    return {static_cast<uint8_t>(range.low), static_cast<uint8_t>(range.high), range.target};
  }

  void add_length(std::vector<ByteEdge>& bytes, Edges edges, CodePointRange wanted, uint8_t lead,
                  int length) {
    const std::vector<NumberRange> ranges = within(edges, wanted);
    for (const DigitWriter::DigitEdge& edge : continuation_.first_digits(ranges, length)) {
      append_byte_edge(bytes, {static_cast<uint8_t>(lead + edge.low),
                               static_cast<uint8_t>(lead + edge.high), edge.target});
    }
  }

  /// What may follow a backslash.
  std::vector<ByteEdge> escapes_of(Edges edges) {
    const bool all = encoding_ == Encoding::json_string_any_escapes;
    std::vector<ByteEdge> bytes;
    for (const ShortEscape& escape : kShortEscapes) {
      if (!all && !escape.canonical) continue;
      const std::vector<NumberRange> target = within(edges, {escape.code_point, escape.code_point});
      const auto letter = static_cast<uint8_t>(escape.letter);
      if (!target.empty()) bytes.push_back({letter, letter, target.front().target});
    }
    std::vector<NumberRange> by_number = within(edges, {0, all ? 0xFFFFU : 0x1FU});
    if (!all) without_short_escapes(by_number);
    if (!by_number.empty()) bytes.push_back({'u', 'u', hex_.state(by_number, 4)});
    std::ranges::sort(bytes, {}, &ByteEdge::low);
    return bytes;
  }

  static void without_short_escapes(std::vector<NumberRange>& ranges) {
    std::vector<NumberRange> left;
    for (const NumberRange& range : ranges) {
      for (uint32_t c = range.low; c <= range.high; ++c)
        if (must_be_escaped(c) && !has_short_escape(c)) left.push_back({c, c, range.target});
    }
    ranges = std::move(left);
  }

  static std::vector<NumberRange> within(Edges edges, CodePointRange wanted) {
    std::vector<NumberRange> result;
    auto edge = std::ranges::lower_bound(edges, wanted.low, {}, &CodePointDfa::Edge::high);
    for (; edge != edges.end() && edge->low <= wanted.high; ++edge) {
      result.push_back(
          {std::max(edge->low, wanted.low), std::min(edge->high, wanted.high), edge->target});
    }
    return result;
  }

  ByteGraph& graph_;
  Encoding encoding_;
  ContinuationWriter continuation_;
  HexWriter hex_;
};

/// Moves the labels of the first `num_states` states behind the suffix.
Result<void> add_suffix(ByteGraph& graph, const CodePointDfa& dfa, std::string_view suffix) {
  std::vector<std::optional<int32_t>> entrances;  // [label]: the state before the suffix's rest
  for (int32_t state = 0; std::cmp_less(state, dfa.num_states()); ++state) {
    const int32_t label = dfa.label(state);
    if (label == CodePointDfa::kNoLabel) continue;
    if (std::cmp_less_equal(entrances.size(), label)) {
      entrances.resize(static_cast<size_t>(label) + 1);
    }
    std::optional<int32_t>& entrance = entrances[static_cast<size_t>(label)];
    if (!entrance) {
      int32_t after = graph.add_state();
      graph.set_label(after, label);
      for (size_t i = suffix.size() - 1; i > 0; --i) {
        const auto byte = static_cast<uint8_t>(suffix[i]);
        const int32_t before = graph.add_state();
        graph.set_edges(before, {{byte, byte, after}});
        after = before;
      }
      entrance = after;
    }
    const auto byte = static_cast<uint8_t>(suffix.front());
    std::vector<ByteEdge> edges(graph.edges(state).begin(), graph.edges(state).end());
    const auto place = std::ranges::lower_bound(edges, byte, {}, &ByteEdge::high);
    if (place != edges.end() && place->low <= byte) {
      return fail(ErrorCode::internal, "the suffix of a set of texts begins as a text can go on");
    }
    edges.insert(place, {byte, byte, *entrance});
    graph.set_edges(state, std::move(edges));
  }
  return {};
}

}  // namespace

Result<ByteDfa> encode_bytes(const CodePointDfa& dfa, Encoding encoding, std::string_view suffix,
                             AutomatonLimits limits) {
  ByteGraph graph(dfa.num_states());
  StateEncoder encoder(graph, encoding);
  for (int32_t state = 0; std::cmp_less(state, dfa.num_states()); ++state) {
    graph.set_edges(state, encoder.edges_of(dfa.edges(state)));
    if (suffix.empty()) graph.set_label(state, dfa.label(state));
    if (graph.num_states() > limits.max_states) return too_many_states(limits);
  }
  if (!suffix.empty()) TETRAD_TRY(add_suffix(graph, dfa, suffix));
  if (graph.num_states() > limits.max_states) return too_many_states(limits);
  return graph.finish();
}

}  // namespace tetrad::grammar
