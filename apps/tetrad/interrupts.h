#pragma once

#include <csignal>
#include <initializer_list>
#include <utility>
#include <vector>

namespace tetrad {

/// While one of these lives, Ctrl-C (SIGINT) and whichever other signals it is for end no program
/// but are kept for take(), and a read() they find waiting fails with EINTR. One at a time.
class Interrupts {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): without arguments it is a default constructor, too
  explicit Interrupts(std::initializer_list<int> signals = {SIGINT});
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  /// Whether one has come since the last call.
  static bool take();

 private:
  std::vector<std::pair<int, struct sigaction>> previous_;
};

}  // namespace tetrad
