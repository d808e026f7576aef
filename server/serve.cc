#include "server/serve.h"

#include <algorithm>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/compute_pool.h"
#include "core/errors.h"
#include "core/local_oracle.h"
#include "core/random_stream.h"
#include "core/status_macros.h"
#include "core/version.h"
#include "nlohmann/json.hpp"
#include "server/admission.h"
#include "server/grpc_server.h"
#include "server/health_service.h"
#include "server/listen_address.h"
#include "server/log.h"
#include "server/oracle_service.h"
#include "server/port_file.h"
#include "server/shutdown_signals.h"

namespace gradoracle {
namespace {

// Loads the data set and tells the owner about it.
absl::StatusOr<std::unique_ptr<LocalOracle>> LoadOracle(const ServerConfig& config) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleOptions options, ToOracleOptions(config));
  Log(LogLevel::kInfo, "loading", {{"data", config.data}});
  GRADORACLE_ASSIGN_OR_RETURN(std::unique_ptr<LocalOracle> oracle, LocalOracle::Create(options));
  for (const std::string& warning : oracle->warnings()) Log(LogLevel::kWarning, warning);
  const OracleInfo& info = oracle->info();
  Log(LogLevel::kInfo, "loaded",
      {{"row_count", info.row_count},
       {"dimension", info.dimension},
       {"scaling", info.scaling},
       {"noise_rule", config.noise_rule},
       {"sampling", config.sampling},
       {"smallest_calibrated_batch_size", oracle->smallest_calibrated_batch_size()},
       {"min_batch_size", info.limits.min_batch_size},
       {"max_batch_size", info.limits.max_batch_size},
       {"dataset_version", info.dataset_version}});
  return oracle;
}

absl::StatusOr<std::unique_ptr<GrpcServer>> Listen(const ServerConfig& config, int64_t dimension,
                                                   OracleService* service, HealthService* health,
                                                   Admission* admission) {
  GrpcServerOptions options;
  options.listen = config.listen;
  options.dimension = dimension;
  options.reflection = config.reflection;
  absl::StatusOr<std::unique_ptr<GrpcServer>> server = GrpcServer::Start(options, service, health, admission);
  if (server.ok()) return server;
  // The address is well formed (ValidateConfig), so it is this machine that refuses: a failure, not a configuration
  // error.
  return MakeError(absl::StatusCode::kUnavailable, "LISTEN_FAILED", "listen",
                   absl::StrCat("--listen ", config.listen,
                                ": cannot listen there. The port may be taken (stop the other process, choose another "
                                "port, or port 0 with --port-file), or the address is not one of this machine's"));
}

void SetServing(HealthService& health, bool serving) {
  health.SetServing(HealthService::kProcess, serving);
  health.SetServing(OracleService::kName, serving);
}

void Drain(const ServerConfig& config, HealthService& health, GrpcServer& server) {
  SetServing(health, false);
  if (config.shutdown_delay > absl::ZeroDuration()) {
    Log(LogLevel::kInfo, "still serving", {{"for", absl::FormatDuration(config.shutdown_delay)}});
    absl::SleepFor(config.shutdown_delay);
  }
  Log(LogLevel::kInfo, "draining", {{"at_most", absl::FormatDuration(config.shutdown_timeout)}});
  const bool complete = server.Shutdown(absl::Now() + config.shutdown_timeout);
  if (complete) {
    Log(LogLevel::kInfo, "stopped");
  } else {
    Log(LogLevel::kWarning, "stopped; calls still in flight after --shutdown-timeout were cut short");
  }
}

}  // namespace

absl::Status Serve(const ServerConfig& config) {
  WatchShutdownSignals();
  GRADORACLE_RETURN_IF_ERROR(CheckExposure(config));
  GRADORACLE_RETURN_IF_ERROR(CheckFiles(config));
  // Whoever waits for the file must not find the one of an earlier server.
  if (!config.port_file.empty()) GRADORACLE_RETURN_IF_ERROR(RemovePortFile(config.port_file));
  GRADORACLE_ASSIGN_OR_RETURN(ListenAddress address, ParseListenAddress(config.listen));
  Log(LogLevel::kInfo, "starting", {{"version", VersionString()}});
  if (!address.IsLoopback()) {
    Log(LogLevel::kWarning, "--insecure: anyone who reaches this address can ask, in plaintext, without limit",
        {{"listen", config.listen}});
  }
  GRADORACLE_ASSIGN_OR_RETURN(const std::unique_ptr<LocalOracle> oracle, LoadOracle(config));
  GRADORACLE_ASSIGN_OR_RETURN(const ProcessSecret secret, ProcessSecret::Generate());

  Admission admission(oracle->info(), secret, AdmissionOptions());
  const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
  ComputePool pool(static_cast<int>(config.threads.value_or(cores)));
  OracleService service(oracle->info(), &oracle->engine(), &admission, &pool, OracleServiceOptions());
  HealthService health;
  GRADORACLE_ASSIGN_OR_RETURN(const std::unique_ptr<GrpcServer> server,
                              Listen(config, oracle->info().dimension, &service, &health, &admission));
  ExpectShutdown();
  address.port = server->port();
  SetServing(health, true);
  if (!config.port_file.empty()) GRADORACLE_RETURN_IF_ERROR(WritePortFile(config.port_file, address));
  Log(LogLevel::kInfo, "serving", {{"address", address.ToString()}});

  const char* signal = AwaitShutdown();
  Log(LogLevel::kInfo, "told to stop", {{"signal", signal}});
  Drain(config, health, *server);
  return absl::OkStatus();
}

}  // namespace gradoracle
