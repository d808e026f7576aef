#ifndef GRADORACLE_SERVER_CONFIG_H_
#define GRADORACLE_SERVER_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/local_oracle.h"

namespace gradoracle {

// Everything the owner can set, one member a setting; server/settings.h says what each is called, means and may be.
// The initialisers are the defaults.
struct ServerConfig {
  std::string data;
  std::string target;
  bool standardise = OracleOptions().standardise;
  std::string scaling;
  std::string dataset_version;

  std::string listen = "127.0.0.1:50051";
  std::string port_file;
  bool insecure = false;
  bool reflection = true;
  std::optional<int64_t> threads;  // unset: the cores of this machine

  std::string noise_rule = "calibrated";
  std::optional<double> noise_scale;
  std::optional<double> noise_variance;
  std::vector<double> extra_noise_variances;
  bool curvature_probe = OracleOptions().curvature_probe;
  std::string sampling = "iid";

  int64_t min_batch_size = OracleOptions().min_batch_size;
  std::optional<int64_t> max_batch_size;  // unset: N for iid, floor(N/2) otherwise
  int64_t max_count = OracleOptions().max_count;
  double max_weights_norm = OracleOptions().max_weights_norm;
  bool publish_feature_names = OracleOptions().publish_feature_names;

  std::string auth = "none";
  std::string ledger = "memory";
  std::string audit_log;
  std::string tls_cert;
  std::string tls_key;
  std::string client_ca;
  std::string admin_listen;

  std::string log_level = "info";
  std::string log_format = "text";
  absl::Duration shutdown_delay = absl::ZeroDuration();
  absl::Duration shutdown_timeout = absl::Seconds(30);
};

// Checks what settings mean together; each alone was checked when it was read (server/settings.h).
// Errors: kInvalidArgument naming the flag and its value: a setting that needs another rule or contradicts one, one
// this version does not provide, an address that is not HOST:PORT. Whether the server may listen there is
// CheckExposure.
absl::Status ValidateConfig(const ServerConfig& config);

// The server refuses plaintext without identity anywhere but on loopback, unless told --insecure.
// Errors: kInvalidArgument LISTEN_INSECURE.
absl::Status CheckExposure(const ServerConfig& config);

// A data file is named, and it and the scaling file can be read. Errors: kInvalidArgument DATA_REQUIRED; kNotFound.
absl::Status CheckFiles(const ServerConfig& config);

// The part of the configuration that makes an oracle. Requires ValidateConfig to have passed.
absl::StatusOr<OracleOptions> ToOracleOptions(const ServerConfig& config);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONFIG_H_
