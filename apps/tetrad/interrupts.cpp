#include "interrupts.h"

#include <atomic>

namespace tetrad {
namespace {

// A signal handler reaches nothing but globals.
std::atomic<bool> pressed{false};
static_assert(std::atomic<bool>::is_always_lock_free);

}  // namespace

Interrupts::Interrupts(std::initializer_list<int> signals) {
  struct sigaction action{};
  action.sa_handler = [](int) { pressed = true; };
  sigemptyset(&action.sa_mask);  // and no SA_RESTART: a waiting read() must return
  for (const int signal : signals) {
    struct sigaction previous{};
    sigaction(signal, &action, &previous);
    previous_.emplace_back(signal, previous);
  }
}

Interrupts::~Interrupts() {
  for (const auto& [signal, previous] : previous_)
    sigaction(signal, &previous, nullptr);
}

bool Interrupts::take() {
  return pressed.exchange(false);
}

}  // namespace tetrad
