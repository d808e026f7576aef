#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "client/cli/run_program.h"
#include "client/oracle_client.h"

namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

void Interrupt(int) { interrupted.store(true); }

}  // namespace

int main(int argc, char** argv) {
  struct sigaction action {};
  action.sa_handler = Interrupt;
  action.sa_flags = SA_RESETHAND;  // a second one ends the program at once
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);

  const char* no_color = std::getenv("NO_COLOR");
  gradoracle::Environment environment{
      .out = std::cout,
      .err = std::cerr,
      .progress = isatty(STDERR_FILENO) == 1,
      .colour = isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0'),
      .interrupted = interrupted,
      .connect = [](const std::string& target,
                    absl::Duration deadline) -> absl::StatusOr<std::unique_ptr<gradoracle::GradientSource>> {
        gradoracle::OracleClientOptions options;
        options.deadline = deadline;
        options.cancelled = &interrupted;
        absl::StatusOr<std::unique_ptr<gradoracle::OracleClient>> client =
            gradoracle::OracleClient::Create(target, options);
        if (!client.ok()) return client.status();
        return *std::move(client);
      }};
  return gradoracle::RunProgram(std::vector<std::string>(argv + 1, argv + argc), environment);
}
