#pragma once

#include <histedit.h>

#include <memory>
#include <optional>
#include <string>

namespace tetrad {

/// Lines from standard input: edited, with a prompt and a history, where both ends are a terminal,
/// and plainly read from a pipe or a file. The caller keeps an Interrupts.
class LineReader {
 public:
  LineReader();

  bool interactive() const { return editor_ != nullptr; }

  /// The next line without its newline. Ctrl-C empties a line that has been begun. Nothing at the
  /// end of the input, and after Ctrl-C or Ctrl-D on an empty line.
  std::optional<std::string> read();

 private:
  std::optional<std::string> read_edited();

  struct EndEditor {
    void operator()(EditLine* editor) const { el_end(editor); }
  };
  struct EndHistory {
    void operator()(History* history) const { history_end(history); }
  };
  std::unique_ptr<History, EndHistory> history_;
  std::unique_ptr<EditLine, EndEditor> editor_;  // null: not interactive
};

}  // namespace tetrad
