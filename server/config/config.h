#ifndef GRADORACLE_SERVER_CONFIG_CONFIG_H_
#define GRADORACLE_SERVER_CONFIG_CONFIG_H_

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
  std::optional<bool> reflection;  // unset: only where nobody has to say who they are (--auth none)
  int64_t max_connections = 1'024;
  int64_t max_connections_per_address = 64;
  absl::Duration write_timeout = absl::Seconds(60);
  absl::Duration self_probe_interval = absl::Seconds(10);
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

  std::optional<double> clip_norm;
  std::optional<double> gradient_noise_multiplier;
  std::optional<double> mask_variance;
  std::optional<int64_t> mask_budget;
  std::optional<double> mask_error;
  std::optional<double> weights_grid;
  std::optional<int64_t> max_participation;
  std::optional<double> reply_grid;
  std::optional<double> curvature_floor;
  std::optional<double> label_width;
  double privacy_delta = 1e-5;
  bool publish_defences = OracleOptions().publish_defences;

  std::string auth = "none";
  std::string ledger = "memory";
  std::optional<int64_t> default_limit;  // unset: only the owner makes accounts; without --auth nobody is limited
  std::optional<int64_t> dataset_limit;  // unset: as the ledger has it
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
// Errors: kInvalidArgument naming the flag and its value: a setting that needs another one or contradicts it, an
// address that is not HOST:PORT. Whether the server may listen there is CheckExposure.
absl::Status ValidateConfig(const ServerConfig& config);

// Anywhere but on loopback the server refuses to listen without TLS and without --auth, unless told --insecure.
// Errors: kInvalidArgument LISTEN_INSECURE.
absl::Status CheckExposure(const ServerConfig& config);

// A data file is named, and it and the scaling file can be read. Errors: kInvalidArgument DATA_REQUIRED; kNotFound.
absl::Status CheckFiles(const ServerConfig& config);

// The part of the configuration that makes an oracle. Requires ValidateConfig to have passed.
absl::StatusOr<OracleOptions> ToOracleOptions(const ServerConfig& config);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONFIG_CONFIG_H_
