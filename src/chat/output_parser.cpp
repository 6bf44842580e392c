#include "chat/output_parser.h"

#include <utility>

#include "chat/output_tags.h"
#include "chat/output_writers.h"
#include "chat/tool_call_writer.h"

namespace tetrad {
namespace {

constexpr OutputTags kTokenTags(OutputTag::think_open, OutputTag::think_close,
                                OutputTag::block_open, OutputTag::block_close);

constexpr OutputTags kCallTags(OutputTag::block_open, OutputTag::block_close,
                               OutputTag::invoke_open, OutputTag::invoke_close,
                               OutputTag::parameter_open);

}  // namespace

/// One state machine for thinking and calls. Everything goes through read_text() and read_tag(),
/// and neither cares where a run of text is cut.
struct OutputParser::Impl {
  enum class State {
    reasoning,
    content,
    block,           // in a <minimax:tool_call>, between calls
    call,            // between parameters
    value,           // in a parameter
    value_end_seen,  // behind a </parameter> that may belong to the value
  };

  explicit Impl(OutputFormat format)
      : splits(format.reasoning == ReasoningStyle::split),
        spelling_counts(format.tags == TagSource::spelling),
        state(format.starts_in_reasoning ? State::reasoning : State::content),
        calls(std::move(format.tools), format.parallel_tool_calls),
        content(calls.has_tools()) {
    if (!splits && format.starts_in_reasoning) prefix = "<think>";
  }

  OutputTags tags() const;
  OutputDelta read(std::string_view text, OutputTags ignored);
  void read_text(std::string_view text);
  void read_tag();
  void read_tag_in_reasoning(OutputTag tag);
  void read_tag_in_content(OutputTag tag);
  void read_tag_in_block(OutputTag tag);
  void read_tag_in_call(OutputTag tag);

  void write_content(std::string_view text);
  void begin_block();
  void begin_call();
  void end_calls();
  void keep_raw(std::string_view text);
  void finish();

  bool splits;
  bool spelling_counts;
  State state;
  OutputTagReader reader;
  ToolCallWriter calls;
  ReasoningWriter reasoning;
  ContentWriter content;
  std::string prefix;  // of the content, until there is some
  OutputDelta delta;

  bool is_bare = false;       // the call stands in no block
  bool block_counts = false;  // the block has a call that is shown
  std::string raw_block;      // of a block that does not count so far
  std::string value_end;      // </parameter> and the whitespace behind it
};

OutputTags OutputParser::Impl::tags() const {
  switch (state) {
    case State::reasoning:
      return OutputTags(OutputTag::think_open, OutputTag::think_close, OutputTag::block_open);
    case State::content: {
      OutputTags tags(OutputTag::think_close);
      if (!splits) tags = tags.with(OutputTag::think_open);
      if (!calls.has_tools()) return tags;
      tags = tags.with(OutputTag::block_open).with(OutputTag::invoke_open);
      // A wrapper may be closed that was not opened.
      if (is_bare && content.blank_after_call()) tags = tags.with(OutputTag::block_close);
      return tags;
    }
    case State::block:
      return OutputTags(OutputTag::block_open, OutputTag::block_close, OutputTag::invoke_open);
    case State::call:
    case State::value_end_seen:
      return kCallTags.with(OutputTag::parameter_close);
    case State::value:
      return OutputTags(OutputTag::block_close, OutputTag::invoke_open, OutputTag::invoke_close,
                        OutputTag::parameter_open, OutputTag::parameter_close);
  }
  return OutputTags();
}

void OutputParser::Impl::write_content(std::string_view text) {
  if (!text.empty()) content.write(std::exchange(prefix, std::string()), delta.content);
  content.write(text, delta.content);
}

void OutputParser::Impl::read_text(std::string_view text) {
  switch (state) {
    case State::reasoning:
      if (!splits) return write_content(text);
      return reasoning.write(text, delta.reasoning);
    case State::content:
      return write_content(text);
    case State::block:
    case State::call:
      return keep_raw(text);
    case State::value:
      keep_raw(text);
      return calls.write_value(text, delta);
    case State::value_end_seen: {
      keep_raw(text);
      value_end += text;
      if (text.find_first_not_of(" \t\n\v\f\r") == std::string_view::npos) return;
      state = State::value;
      return calls.write_value(std::exchange(value_end, std::string()), delta);
    }
  }
}

void OutputParser::Impl::read_tag() {
  const OutputTag tag = reader.tag();
  switch (state) {
    case State::reasoning:
      return read_tag_in_reasoning(tag);
    case State::content:
      return read_tag_in_content(tag);
    case State::block:
      keep_raw(reader.text());
      return read_tag_in_block(tag);
    case State::value:
    case State::value_end_seen:
    case State::call:
      keep_raw(reader.text());
      return read_tag_in_call(tag);
  }
}

void OutputParser::Impl::read_tag_in_reasoning(OutputTag tag) {
  const bool is_think_tag = tag != OutputTag::block_open;
  if (is_think_tag && !splits) write_content(reader.text());
  if (tag == OutputTag::think_open) return;
  state = State::content;
  reasoning.end();
  if (splits) content.skip_newlines();
  if (is_think_tag) return;
  if (!calls.has_tools()) return write_content(reader.text());
  begin_block();
}

void OutputParser::Impl::read_tag_in_content(OutputTag tag) {
  switch (tag) {
    case OutputTag::think_open:
      state = State::reasoning;
      return write_content(reader.text());
    case OutputTag::think_close:
      if (!splits) write_content(reader.text());
      return;
    case OutputTag::block_open:
      return begin_block();
    case OutputTag::invoke_open:
      if (!calls.knows(reader.name())) return write_content(reader.text());
      is_bare = true;
      block_counts = true;
      return begin_call();
    default:
      is_bare = false;
      return;
  }
}

void OutputParser::Impl::begin_block() {
  state = State::block;
  is_bare = false;
  block_counts = false;
  raw_block = reader.text();
}

void OutputParser::Impl::read_tag_in_block(OutputTag tag) {
  if (tag == OutputTag::invoke_open) begin_call();
  if (tag == OutputTag::block_close) end_calls();
}

void OutputParser::Impl::read_tag_in_call(OutputTag tag) {
  if (tag == OutputTag::parameter_close) {
    if (state == State::call) return;
    if (state == State::value_end_seen) calls.write_value(value_end, delta);
    state = State::value_end_seen;
    value_end = reader.text();
    return;
  }
  if (state != State::call) {
    calls.end_value(delta);
    value_end.clear();
    state = State::call;
  }
  if (tag == OutputTag::parameter_open) {
    state = State::value;
    return calls.begin_parameter(reader.name(), delta);
  }
  calls.end_call(delta);
  state = State::block;
  if (tag == OutputTag::invoke_open) return begin_call();
  if (tag == OutputTag::block_open && is_bare) return begin_block();
  if (tag == OutputTag::block_close) is_bare = false;
  if (tag == OutputTag::block_close || (tag == OutputTag::invoke_close && is_bare)) end_calls();
}

/// Also of a call that is not shown because there may be only one: its block is no text.
void OutputParser::Impl::begin_call() {
  state = State::call;
  calls.begin_call(reader.name(), delta);
  if (!calls.knows(reader.name())) return;
  block_counts = true;
  raw_block.clear();
  content.pass_call();
}

/// The end of a block, or of a bare call.
void OutputParser::Impl::end_calls() {
  state = State::content;
  if (!block_counts) write_content(std::exchange(raw_block, std::string()));
}

void OutputParser::Impl::keep_raw(std::string_view text) {
  if (!block_counts) raw_block += text;
}

void OutputParser::Impl::finish() {
  const std::string_view held = reader.held();
  if (state == State::reasoning || state == State::content) {
    read_text(held);
  } else {
    // The beginning of a tag that would have ended the value.
    keep_raw(held);
    if (state == State::value_end_seen) {
      calls.end_value(delta);
      state = State::call;
    }
    if (state == State::call && held.empty()) {
      calls.end_call(delta);  // only its closing tag is missing
    } else if (state != State::block) {
      calls.cut_off(delta);
    }
    end_calls();
  }
  reader.drop_held();
  content.end(delta.content);
}

OutputParser::OutputParser(OutputFormat format)
    : impl_(std::make_unique<Impl>(std::move(format))) {}
OutputParser::~OutputParser() = default;
OutputParser::OutputParser(OutputParser&&) noexcept = default;
OutputParser& OutputParser::operator=(OutputParser&&) noexcept = default;

OutputDelta OutputParser::Impl::read(std::string_view text, OutputTags ignored) {
  for (;;) {
    const OutputTagReader::Found found = reader.next(text, tags().without(ignored));
    if (found == OutputTagReader::Found::nothing) break;
    if (found == OutputTagReader::Found::tag) {
      read_tag();
    } else {
      read_text(reader.text());
    }
  }
  return std::exchange(delta, OutputDelta());
}

OutputDelta OutputParser::push(std::string_view text) {
  return impl_->read(text, impl_->spelling_counts ? OutputTags() : kTokenTags);
}

OutputDelta OutputParser::push_tag(std::string_view tag) {
  return impl_->read(tag, OutputTags());
}

OutputDelta OutputParser::finish() {
  impl_->finish();
  return std::exchange(impl_->delta, OutputDelta());
}

bool OutputParser::in_reasoning() const {
  return impl_->state == Impl::State::reasoning;
}

int64_t OutputParser::num_tool_calls() const {
  return impl_->calls.num_calls();
}

bool OutputParser::has_complete_tool_call() const {
  return impl_->calls.has_complete_call();
}

int64_t OutputParser::num_unknown_calls() const {
  return impl_->calls.num_unknown();
}

}  // namespace tetrad
