#include "server/serve.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

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
#include "server/accounts/leakage_report.h"
#include "server/admission/admission.h"
#include "server/config/settings.h"
#include "server/connections/connection_table.h"
#include "server/connections/descriptor_limit.h"
#include "server/connections/self_probe.h"
#include "server/identity/server_credentials.h"
#include "server/identity/tls_files.h"
#include "server/ledger/open_ledger.h"
#include "server/operations/admin_http_server.h"
#include "server/operations/listen_address.h"
#include "server/operations/log.h"
#include "server/operations/metrics.h"
#include "server/operations/port_file.h"
#include "server/operations/process_metrics.h"
#include "server/operations/report_error.h"
#include "server/operations/signals.h"
#include "server/owner/owner_access.h"
#include "server/service/grpc_server.h"
#include "server/service/health_service.h"
#include "server/service/oracle_service.h"

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

// What the owner was warned of once more, where a log is read before a manual.
void WarnOfExposure(const ServerConfig& config) {
  const bool tls = !config.tls_cert.empty();
  if (tls && config.auth != "none") return;
  Log(LogLevel::kWarning,
      config.auth != "none" ? "--insecure: anyone on the way can read along and take tokens"
      : tls                 ? "--insecure: anyone who reaches this address can ask without limit"
                            : "--insecure: anyone who reaches this address can ask, in plaintext, without limit",
      {{"listen", config.listen}});
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(const ServerConfig& config) {
  if (config.tls_cert.empty()) return grpc::InsecureServerCredentials();
  return MakeTlsCredentials(TlsFilesOf(config), /*require_client_certificate=*/config.auth == "mtls");
}

absl::StatusOr<std::unique_ptr<GrpcServer>> Listen(const ServerConfig& config, int64_t dimension,
                                                   ConnectionTable* connections,
                                                   std::shared_ptr<grpc::ServerCredentials> credentials,
                                                   OracleService* service, HealthService* health, Admission* admission,
                                                   Metrics* metrics) {
  GrpcServerOptions options;
  options.listen = config.listen;
  options.dimension = dimension;
  options.reflection = config.reflection.value_or(config.auth == "none");
  options.write_timeout = config.write_timeout;
  options.connections = connections;
  options.credentials = std::move(credentials);
  options.metrics = metrics;
  absl::StatusOr<std::unique_ptr<GrpcServer>> server = GrpcServer::Start(options, service, health, admission);
  if (server.ok()) return server;
  if (ErrorReason(server.status()) != "LISTEN_ADDRESS") return server;
  // The address is well formed (ValidateConfig), so it is this machine that refuses: a failure, not a configuration
  // error.
  return MakeError(absl::StatusCode::kUnavailable, "LISTEN_FAILED", "listen",
                   absl::StrCat("--", server.status().message(),
                                ". The port may be taken (stop the other process, choose another port, or port 0 with "
                                "--port-file), or the address is not one of this machine's"));
}

// A process with few descriptors gets fewer connections, not none later.
void FitLimits(ConnectionTable& connections) {
  const ConnectionLimits asked = connections.limits();
  const int64_t descriptors = RaiseDescriptorLimit();
  connections.LowerLimit(ConnectionsThatFit(descriptors, OpenDescriptors()));
  const ConnectionLimits given = connections.limits();
  if (given.connections == asked.connections) return;
  Log(LogLevel::kWarning, "fewer connections than --max-connections: the limit of open files (ulimit -n) is too low",
      {{"max_connections", given.connections},
       {"max_connections_per_address", given.connections_per_address},
       {"open_files", descriptors}});
}

// Ends the process when nobody answers on its own address any more.
std::unique_ptr<SelfProbe> StartSelfProbe(const ServerConfig& config, const GrpcServer& server,
                                          ConnectionTable& connections) {
  if (config.self_probe_interval == absl::ZeroDuration()) return nullptr;
  SelfProbe::Options options;
  options.interval = config.self_probe_interval;
  return std::make_unique<SelfProbe>(
      options,
      [address = server.addresses().front(), tls = !config.tls_cert.empty(), &connections](absl::Duration timeout) {
        return ProbeOnce(address, tls, &connections, timeout);
      },
      [] {
        Log(LogLevel::kError, "this process hears nobody on its own address; exiting so that it is started again");
        _exit(kExitFailed);
      });
}

// Nothing when no admin port is asked for. Refers to `ledger` and `stopping` until destroyed.
absl::StatusOr<std::unique_ptr<AdminHttpServer>> StartAdmin(const ServerConfig& config, const Metrics& metrics,
                                                            const Ledger& ledger, const std::atomic<bool>& stopping) {
  if (config.admin_listen.empty()) return nullptr;
  GRADORACLE_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(config.admin_listen));
  if (!address.IsLoopback()) {
    Log(LogLevel::kWarning, "--admin-listen is not on loopback: whoever reaches it reads the metrics, in plaintext",
        {{"admin_listen", config.admin_listen}});
  }
  const auto readiness = [&stopping, &ledger] {
    std::vector<std::string> obstacles;
    if (stopping) obstacles.emplace_back("shutting down");
    if (!ledger.healthy()) obstacles.emplace_back("the ledger does not work");
    return obstacles;
  };
  GRADORACLE_ASSIGN_OR_RETURN(std::unique_ptr<AdminHttpServer> admin,
                              AdminHttpServer::Start(address, {metrics.collectable(), ProcessMetrics()}, readiness));
  Log(LogLevel::kInfo, "admin port", {{"address", admin->address().ToString()}});
  return admin;
}

// What was derived from these limits at the start (a floor, a mask) would not hold for wider ones.
absl::Status CheckDerived(const ServerConfig& config, const QueryLimits& now, const QueryLimits& next) {
  if (!config.curvature_floor.has_value() && !config.mask_budget.has_value()) return absl::OkStatus();
  const bool wider = next.min_batch_size < now.min_batch_size || next.max_batch_size > now.max_batch_size ||
                     next.max_weights_norm > now.max_weights_norm;
  if (!wider) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, "CONFIG_CONFLICT", "max_weights_norm",
                   "--curvature-floor and --mask-budget were computed for the limits at the start: wider "
                   "--max-weights-norm, --min-batch-size or --max-batch-size need a restart");
}

absl::StatusOr<QueryLimits> LimitsOf(const ServerConfig& config, const LocalOracle& oracle) {
  GRADORACLE_ASSIGN_OR_RETURN(const OracleOptions options, ToOracleOptions(config));
  return oracle.LimitsFor(options);
}

// SIGHUP: reads the configuration again and takes from it into `in_force` what can change while serving. One that
// cannot be read changes nothing.
void Reload(ServerConfig& in_force, const ConfigReader& read_config, const LocalOracle& oracle, Admission& admission,
            OwnerAccess& owner) {
  const absl::StatusOr<ServerConfig> config = read_config();
  absl::StatusOr<QueryLimits> limits = config.ok() ? LimitsOf(*config, oracle) : config.status();
  if (limits.ok()) {
    const absl::Status derived = CheckDerived(in_force, oracle.info().limits, *limits);
    if (!derived.ok()) limits = derived;
  }
  if (!limits.ok()) {
    Log(LogLevel::kError, "the configuration was not reloaded; the old one stays in force",
        {{"error", std::string(limits.status().message())}});
    return;
  }
  const auto fixed = [](const Setting& setting) { return !IsReloadable(setting); };
  if (const auto flags = ChangedFlags(in_force, *config, fixed); !flags.empty()) {
    Log(LogLevel::kWarning, "changed settings that need a restart", {{"settings", flags}});
  }
  SetLogLevel(config->log_level);
  if (const absl::Status tokens = owner.Reload(); !tokens.ok()) {
    Log(LogLevel::kError, "the tokens were not reloaded", {{"error", std::string(tokens.message())}});
  }
  admission.SetLimits(*limits);  // last: whoever sees the new limits in GetInfo finds the rest in force
  Log(LogLevel::kInfo, "reloaded", {{"settings", ChangedFlags(in_force, *config, IsReloadable)}});
  CopySettings(*config, in_force, IsReloadable);
}

LedgerOptions ToLedgerOptions(const ServerConfig& config, const std::string& dataset_version,
                              std::optional<int64_t> curvature_floor, Metrics* metrics, HealthService* health) {
  LedgerOptions options;
  options.location = config.ledger;
  options.audit_log = config.audit_log;
  options.dataset_version = dataset_version;
  options.default_limit = config.default_limit;
  options.dataset_limit = config.dataset_limit;
  options.curvature_floor = curvature_floor;
  options.max_participation = config.max_participation;
  if (config.auth == "none") options.unlimited_principal = "anonymous";
  options.metrics = metrics;
  options.on_health = [health](bool works) { health->SetLedgerWorks(works); };
  return options;
}

AdmissionOptions ToAdmissionOptions(const ServerConfig& config, const OwnerAccess& owner, const LocalOracle& oracle,
                                    std::optional<int64_t> curvature_floor) {
  AdmissionOptions options;
  options.authenticator = &owner.authenticator();
  options.newcomers = std::nullopt;
  options.defence = oracle.defence();
  options.curvature_floor = curvature_floor;
  if (config.default_limit.has_value() || config.auth == "none") options.newcomers = Budget{config.default_limit, 0};
  return options;
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

absl::Status Serve(const ServerConfig& config, const ConfigReader& read_config) {
  WatchSignals();
  GRADORACLE_RETURN_IF_ERROR(CheckExposure(config));
  GRADORACLE_RETURN_IF_ERROR(CheckFiles(config));
  // Whoever waits for the file must not find the one of an earlier server.
  if (!config.port_file.empty()) GRADORACLE_RETURN_IF_ERROR(RemovePortFile(config.port_file));
  GRADORACLE_ASSIGN_OR_RETURN(ListenAddress address, ParseListenAddress(config.listen));
  Log(LogLevel::kInfo, "starting", {{"version", VersionString()}});
  if (!address.IsLoopback()) WarnOfExposure(config);
  GRADORACLE_ASSIGN_OR_RETURN(const auto credentials, MakeCredentials(config));
  GRADORACLE_ASSIGN_OR_RETURN(const std::unique_ptr<LocalOracle> oracle, LoadOracle(config));
  GRADORACLE_ASSIGN_OR_RETURN(const std::optional<int64_t> floor, CurvatureFloorCount(config, *oracle));
  if (floor.has_value()) Log(LogLevel::kInfo, "curvature floor", {{"gradients_of_all_callers", *floor}});
  GRADORACLE_ASSIGN_OR_RETURN(const ProcessSecret secret, ProcessSecret::Generate());

  Metrics metrics;
  HealthService health;
  GRADORACLE_ASSIGN_OR_RETURN(
      const std::unique_ptr<Ledger> ledger,
      OpenLedger(ToLedgerOptions(config, oracle->info().dataset_version, floor, &metrics, &health)));
  GRADORACLE_ASSIGN_OR_RETURN(const std::unique_ptr<OwnerAccess> owner, OwnerAccess::Open(config, ledger.get()));
  Admission admission(oracle->info(), secret, ledger.get(), ToAdmissionOptions(config, *owner, *oracle, floor));
  const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
  ComputePool pool(static_cast<int>(config.threads.value_or(cores)));
  ConnectionTable connections(
      {.connections = config.max_connections, .connections_per_address = config.max_connections_per_address});
  FitLimits(connections);
  OracleServiceOptions service_options;
  service_options.connections = &connections;
  service_options.metrics = &metrics;
  OracleService service(&oracle->engine(), &admission, &pool, service_options);
  GRADORACLE_ASSIGN_OR_RETURN(
      const std::unique_ptr<GrpcServer> server,
      Listen(config, oracle->info().dimension, &connections, credentials, &service, &health, &admission, &metrics));
  ExpectSignals();
  address.port = server->port();
  SetServing(health, true);
  std::atomic<bool> stopping{false};
  GRADORACLE_ASSIGN_OR_RETURN(const std::unique_ptr<AdminHttpServer> admin,
                              StartAdmin(config, metrics, *ledger, stopping));
  if (!config.port_file.empty()) GRADORACLE_RETURN_IF_ERROR(WritePortFile(config.port_file, address));
  Log(LogLevel::kInfo, "serving", {{"address", address.ToString()}});
  std::unique_ptr<SelfProbe> self_probe = StartSelfProbe(config, *server, connections);

  ServerConfig in_force = config;
  Signal signal = AwaitSignal();
  for (; signal == Signal::kReload; signal = AwaitSignal()) Reload(in_force, read_config, *oracle, admission, *owner);
  Log(LogLevel::kInfo, "told to stop", {{"signal", SignalName(signal)}});
  stopping = true;
  self_probe.reset();  // a server that stops is not deaf
  Drain(config, health, *server);
  return absl::OkStatus();
}

}  // namespace gradoracle
