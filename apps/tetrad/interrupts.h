#pragma once

#include <csignal>

namespace tetrad {

/// While one of these lives, Ctrl-C (SIGINT) ends no program but is kept for take(), and a read()
/// it finds waiting fails with EINTR. One at a time.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  /// Whether Ctrl-C was pressed since the last call.
  static bool take();

 private:
  struct sigaction previous_{};
};

}  // namespace tetrad
