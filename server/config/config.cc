#include "server/config/config.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/different_files.h"
#include "core/errors.h"
#include "core/noise_calibration.h"
#include "core/sampling.h"
#include "core/status_macros.h"
#include "server/config/ledger_location.h"
#include "server/operations/listen_address.h"

namespace gradoracle {
namespace {

absl::Status Conflict(absl::string_view field, absl::string_view message) {
  return InvalidField("CONFIG_CONFLICT", field, message);
}

absl::Status CheckNoise(const ServerConfig& config) {
  const std::string rule = absl::StrCat(", but --noise-rule is ", config.noise_rule);
  if (config.noise_scale.has_value() && config.noise_rule != "scaled") {
    return Conflict("noise_scale",
                    absl::StrCat("--noise-scale ", *config.noise_scale, ": only the rule scaled has one", rule));
  }
  if (!config.noise_scale.has_value() && config.noise_rule == "scaled") {
    return Conflict("noise_scale", "--noise-rule scaled needs --noise-scale C, a finite number above 0");
  }
  if (config.noise_variance.has_value() && config.noise_rule != "fixed") {
    return Conflict("noise_variance",
                    absl::StrCat("--noise-variance ", *config.noise_variance, ": only the rule fixed has one", rule));
  }
  if (!config.noise_variance.has_value() && config.noise_rule == "fixed") {
    return Conflict("noise_variance", "--noise-rule fixed needs --noise-variance V, a finite number of at least 0");
  }
  return absl::OkStatus();
}

absl::Status CheckLimits(const ServerConfig& config) {
  if (config.max_batch_size.has_value() && *config.max_batch_size < config.min_batch_size) {
    return Conflict("max_batch_size",
                    absl::StrCat("--max-batch-size ", *config.max_batch_size,
                                 ": must be at least --min-batch-size, which is ", config.min_batch_size));
  }
  return absl::OkStatus();
}

absl::Status CheckIdentity(const ServerConfig& config) {
  if (!config.tls_cert.empty() && config.tls_key.empty()) {
    return Conflict("tls_key", absl::StrCat("--tls-cert ", config.tls_cert, " needs its private key, --tls-key FILE"));
  }
  if (config.tls_cert.empty() && !config.tls_key.empty()) {
    return Conflict("tls_cert", absl::StrCat("--tls-key ", config.tls_key, " needs its certificate, --tls-cert FILE"));
  }
  if (!config.client_ca.empty() && config.tls_cert.empty()) {
    return Conflict("client_ca", absl::StrCat("--client-ca ", config.client_ca,
                                              ": client certificates come over TLS; give --tls-cert and --tls-key"));
  }
  if (!config.client_ca.empty() && config.auth == "none") {
    return Conflict("client_ca",
                    absl::StrCat("--client-ca ", config.client_ca,
                                 ": --auth none asks nobody for a certificate; give --auth mtls or tokens"));
  }
  if (config.auth == "mtls" && config.client_ca.empty()) {
    return Conflict("client_ca", "--auth mtls needs --client-ca FILE: whoever vouches for the client certificates");
  }
  if (config.auth != "none" && config.ledger == "memory") {
    return Conflict("ledger", absl::StrCat("--auth ", config.auth,
                                           ": --ledger memory knows no principals; give one that "
                                           "is kept, such as --ledger sqlite:ledger.db"));
  }
  return absl::OkStatus();
}

absl::Status CheckReadable(const std::string& path, absl::string_view field, absl::string_view flag) {
  int error = access(path.c_str(), R_OK) == 0 ? 0 : errno;
  struct stat file = {};
  if (error == 0 && stat(path.c_str(), &file) == 0 && S_ISDIR(file.st_mode)) error = EISDIR;
  if (error == 0) return absl::OkStatus();
  return MakeError(absl::StatusCode::kNotFound, "FILE_UNREADABLE", field,
                   absl::StrCat(flag, " ", path, ": cannot be read: ", std::strerror(error)));
}

}  // namespace

absl::Status ValidateConfig(const ServerConfig& config) {
  if (const auto address = ParseListenAddress(config.listen); !address.ok()) {
    return InvalidField("LISTEN_ADDRESS", "listen", absl::StrCat("--listen: ", address.status().message()));
  }
  GRADORACLE_ASSIGN_OR_RETURN(const LedgerLocation ledger, ParseLedgerLocation(config.ledger));
  if (!config.audit_log.empty() && ledger.kind == LedgerKind::kMemory) {
    return Conflict("audit_log",
                    absl::StrCat("--audit-log ", config.audit_log,
                                 ": --ledger memory forgets with every start what the log remembers; give the ledger a "
                                 "file, sqlite:FILE"));
  }
  if (config.admin_listen.empty()) {
    // none asked for
  } else if (const auto address = ParseListenAddress(config.admin_listen); !address.ok()) {
    return InvalidField("LISTEN_ADDRESS", "admin_listen", absl::StrCat("--admin-listen: ", address.status().message()));
  }
  GRADORACLE_RETURN_IF_ERROR(CheckNoise(config));
  GRADORACLE_RETURN_IF_ERROR(CheckLimits(config));
  GRADORACLE_ASSIGN_OR_RETURN(const OracleOptions oracle, ToOracleOptions(config));
  GRADORACLE_RETURN_IF_ERROR(CheckOracleOptions(oracle));
  GRADORACLE_RETURN_IF_ERROR(CheckIdentity(config));
  if (!config.standardise && !config.scaling.empty()) {
    return Conflict("scaling", absl::StrCat("--scaling ", config.scaling,
                                            ": says how to standardise, but --no-standardise serves raw units"));
  }
  return absl::OkStatus();
}

absl::Status CheckExposure(const ServerConfig& config) {
  GRADORACLE_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(config.listen));
  if (address.IsLoopback() || config.insecure) return absl::OkStatus();
  const bool tls = !config.tls_cert.empty();
  if (tls && config.auth != "none") return absl::OkStatus();
  const absl::string_view lacking = tls ? "no --auth: anyone who reaches it could ask without limit"
                                    : config.auth != "none"
                                        ? "no TLS: anyone on the way could read along and take tokens"
                                        : "no TLS and no --auth: anyone who reaches it could ask "
                                          "without limit";
  return InvalidField("LISTEN_INSECURE", "listen",
                      absl::StrCat("--listen ", config.listen, ": not a loopback address, and there is ", lacking,
                                   ". Give --tls-cert, --tls-key and --auth tokens or mtls; or listen on 127.0.0.1; or "
                                   "accept that with --insecure"));
}

absl::Status CheckFiles(const ServerConfig& config) {
  if (config.data.empty()) {
    return InvalidField("DATA_REQUIRED", "data",
                        "--data FILE is needed: the data set to serve, .csv, .csv.gz or .npy (also GRADORACLE_DATA, or "
                        "data in the configuration file)");
  }
  GRADORACLE_RETURN_IF_ERROR(CheckDifferentFiles({{"data", config.data},
                                                  {"scaling", config.scaling},
                                                  {"port_file", config.port_file},
                                                  {"audit_log", config.audit_log}}));
  GRADORACLE_RETURN_IF_ERROR(CheckReadable(config.data, "data", "--data"));
  if (config.scaling.empty()) return absl::OkStatus();
  return CheckReadable(config.scaling, "scaling", "--scaling");
}

absl::StatusOr<OracleOptions> ToOracleOptions(const ServerConfig& config) {
  OracleOptions options;
  options.data_path = config.data;
  options.target = config.target;
  options.standardise = config.standardise;
  options.scaling_path = config.scaling;
  GRADORACLE_ASSIGN_OR_RETURN(options.noise.rule, ParseNoiseRule(config.noise_rule));
  options.noise.scale = config.noise_scale.value_or(NoisePolicy().scale);
  options.noise.variance = config.noise_variance.value_or(NoisePolicy().variance);
  options.extra_noise_variances = config.extra_noise_variances;
  options.curvature_probe = config.curvature_probe;
  GRADORACLE_ASSIGN_OR_RETURN(options.sampling, ParseSampling(config.sampling));
  options.min_batch_size = config.min_batch_size;
  options.max_batch_size = config.max_batch_size;
  options.max_count = config.max_count;
  options.max_weights_norm = config.max_weights_norm;
  options.publish_feature_names = config.publish_feature_names;
  options.dataset_version = config.dataset_version;
  options.defence.clip_norm = config.clip_norm;
  options.defence.gradient_noise_multiplier = config.gradient_noise_multiplier;
  options.defence.mask_variance = config.mask_variance;
  options.defence.weights_grid = config.weights_grid;
  options.defence.max_participation = config.max_participation;
  options.defence.reply_grid = config.reply_grid;
  options.mask_budget = config.mask_budget;
  options.mask_error = config.mask_error;
  options.publish_defences = config.publish_defences;
  return options;
}

}  // namespace gradoracle
