#include "interrupts.h"

#include <atomic>

namespace tetrad {
namespace {

// A signal handler reaches nothing but globals.
std::atomic<bool> pressed{false};
static_assert(std::atomic<bool>::is_always_lock_free);

}  // namespace

Interrupts::Interrupts() {
  struct sigaction action{};
  action.sa_handler = [](int) { pressed = true; };
  sigemptyset(&action.sa_mask);  // and no SA_RESTART: a waiting read() must return
  sigaction(SIGINT, &action, &previous_);
}

Interrupts::~Interrupts() {
  sigaction(SIGINT, &previous_, nullptr);
}

bool Interrupts::take() {
  return pressed.exchange(false);
}

}  // namespace tetrad
