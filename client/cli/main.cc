#include <grpc/grpc.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/run_program.h"
#include "client/oracle_client.h"
#include "core/own_threads.h"

namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

void Interrupt(int) { interrupted.store(true); }

absl::StatusOr<std::unique_ptr<gradoracle::OracleClient>> Connect(const std::string& target,
                                                                  const gradoracle::ConnectionSettings& settings) {
  gradoracle::OracleClientOptions options;
  options.deadline = settings.deadline;
  options.token_file = settings.token_file;
  options.tls_ca = settings.tls_ca;
  options.tls_cert = settings.tls_cert;
  options.tls_key = settings.tls_key;
  options.insecure = settings.insecure;
  options.cancelled = &interrupted;
  return gradoracle::OracleClient::Create(target, options);
}

}  // namespace

int main(int argc, char** argv) {
  unsetenv("GRPC_TRACE");  // it would print the token
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
      .connect = [](const std::string& target, const gradoracle::ConnectionSettings& settings)
          -> absl::StatusOr<std::unique_ptr<gradoracle::GradientSource>> {
        auto client = Connect(target, settings);
        if (!client.ok()) return client.status();
        return *std::move(client);
      },
      .connect_for_budget = [](const std::string& target, const gradoracle::ConnectionSettings& settings)
          -> absl::StatusOr<gradoracle::BudgetSource> {
        auto client = Connect(target, settings);
        if (!client.ok()) return client.status();
        return [shared = std::shared_ptr<gradoracle::OracleClient>(*std::move(client))] { return shared->Budget(); };
      }};
  const int threads = gradoracle::CountThreads();
  grpc_init();
  const int code = gradoracle::RunProgram(std::vector<std::string>(argv + 1, argv + argc), environment);
  // One of gRPC's threads that outlived main would end amid the exit of the process. This waits for most of them,
  grpc_shutdown_blocking();
  gradoracle::AwaitThreads(threads, std::chrono::seconds(10));  // and this for those it detached.
  return code;
}
