#include "server/config.h"

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
#include "server/listen_address.h"

namespace gradoracle {
namespace {

absl::Status Conflict(absl::string_view field, absl::string_view message) {
  return InvalidField("CONFIG_CONFLICT", field, message);
}

// Identity, ledger, TLS and the admin port have names already, so that a configuration written for a later version is
// refused, not half obeyed. Values are not repeated: a ledger's may hold a password.
absl::Status CheckProvided(const ServerConfig& config) {
  const auto not_provided = [](absl::string_view field, absl::string_view flag, absl::string_view allowed) {
    return InvalidField("CONFIG_NOT_PROVIDED", field,
                        absl::StrCat(flag, ": this version does not provide it; ", allowed));
  };
  if (config.auth != "none") return not_provided("auth", "--auth", "only 'none' is possible");
  if (config.ledger != "memory") return not_provided("ledger", "--ledger", "only 'memory' is possible");
  if (!config.audit_log.empty()) return not_provided("audit_log", "--audit-log", "leave it out");
  if (!config.tls_cert.empty()) return not_provided("tls_cert", "--tls-cert", "leave it out");
  if (!config.tls_key.empty()) return not_provided("tls_key", "--tls-key", "leave it out");
  if (!config.client_ca.empty()) return not_provided("client_ca", "--client-ca", "leave it out");
  if (!config.admin_listen.empty()) return not_provided("admin_listen", "--admin-listen", "leave it out");
  return absl::OkStatus();
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
  GRADORACLE_RETURN_IF_ERROR(CheckProvided(config));
  if (const auto address = ParseListenAddress(config.listen); !address.ok()) {
    return InvalidField("LISTEN_ADDRESS", "listen", absl::StrCat("--listen: ", address.status().message()));
  }
  GRADORACLE_RETURN_IF_ERROR(CheckNoise(config));
  GRADORACLE_RETURN_IF_ERROR(CheckLimits(config));
  if (!config.standardise && !config.scaling.empty()) {
    return Conflict("scaling", absl::StrCat("--scaling ", config.scaling,
                                            ": says how to standardise, but --no-standardise serves raw units"));
  }
  return absl::OkStatus();
}

absl::Status CheckExposure(const ServerConfig& config) {
  GRADORACLE_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(config.listen));
  if (address.IsLoopback() || config.insecure) return absl::OkStatus();
  return InvalidField("LISTEN_INSECURE", "listen",
                      absl::StrCat("--listen ", config.listen,
                                   ": not a loopback address, and this version has no TLS and no --auth: anyone who "
                                   "reaches it could ask without limit. Listen on 127.0.0.1, or accept that with "
                                   "--insecure"));
}

absl::Status CheckFiles(const ServerConfig& config) {
  if (config.data.empty()) {
    return InvalidField("DATA_REQUIRED", "data",
                        "--data FILE is needed: the data set to serve, .csv, .csv.gz or .npy (also GRADORACLE_DATA, or "
                        "data in the configuration file)");
  }
  GRADORACLE_RETURN_IF_ERROR(
      CheckDifferentFiles({{"data", config.data}, {"scaling", config.scaling}, {"port_file", config.port_file}}));
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
  return options;
}

}  // namespace gradoracle
