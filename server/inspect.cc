#include "server/inspect.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/different_files.h"
#include "core/error_norm.h"
#include "core/errors.h"
#include "core/least_squares.h"
#include "core/local_oracle.h"
#include "core/npy.h"
#include "core/scaling.h"
#include "core/status_macros.h"
#include "server/accounts/leakage_report.h"

namespace gradoracle {
namespace {

struct Inspected {
  std::unique_ptr<LocalOracle> oracle;
  std::string refusal;  // why `serve` would not start; empty when it would
};

// An impossible noise rule must not keep the owner from learning why: the data are loaded again without the rule.
absl::StatusOr<Inspected> Load(const OracleOptions& options) {
  absl::StatusOr<std::unique_ptr<LocalOracle>> oracle = LocalOracle::Create(options);
  if (oracle.ok()) return Inspected{*std::move(oracle), ""};
  if (ErrorReason(oracle.status()) != "NOISE_RULE_IMPOSSIBLE") return oracle.status();
  OracleOptions without_rule = options;
  without_rule.noise = {.rule = NoiseRule::kNone};
  without_rule.extra_noise_variances.clear();
  GRADORACLE_ASSIGN_OR_RETURN(std::unique_ptr<LocalOracle> unserved, LocalOracle::Create(without_rule));
  return Inspected{std::move(unserved), std::string(oracle.status().message())};
}

// The status with the flag and the path it is about in front.
absl::Status About(absl::string_view flag, absl::string_view field, const std::string& path,
                   const absl::Status& status) {
  if (status.ok()) return status;
  return MakeError(status.code(), ErrorReason(status).value_or(""), field,
                   absl::StrCat(flag, " ", path, ": ", status.message()));
}

absl::StatusOr<double> Compare(const std::string& path, const Eigen::MatrixXd& hessian) {
  GRADORACLE_ASSIGN_OR_RETURN(const RowMajorMatrix estimate, ReadNpyMatrix(path));
  return RelativeError(estimate, hessian);
}

absl::Status WriteScaling(const std::string& path, const LocalOracle& oracle) {
  if (!oracle.scaling().ok()) return oracle.scaling().status();
  return WriteScalingFile(path, *oracle.scaling());
}

}  // namespace

absl::StatusOr<nlohmann::ordered_json> Inspect(const ServerConfig& config, const InspectOptions& options) {
  GRADORACLE_RETURN_IF_ERROR(CheckFiles(config));
  GRADORACLE_RETURN_IF_ERROR(CheckDifferentFiles({{"data", config.data},
                                                  {"scaling", config.scaling},
                                                  {"compare", options.compare},
                                                  {"hessian_out", options.hessian_out},
                                                  {"scaling_out", options.scaling_out}}));
  GRADORACLE_ASSIGN_OR_RETURN(const OracleOptions oracle_options, ToOracleOptions(config));
  GRADORACLE_ASSIGN_OR_RETURN(const Inspected inspected, Load(oracle_options));
  const LocalOracle& oracle = *inspected.oracle;
  const LeastSquaresFit& fit = oracle.fit();
  std::vector<std::string> warnings = oracle.warnings();
  if (!inspected.refusal.empty()) warnings.insert(warnings.begin(), inspected.refusal);

  nlohmann::ordered_json result = {
      {"row_count", oracle.info().row_count},
      {"dimension", oracle.info().dimension},
      {"residual_variance", fit.residual_variance},
      {"rank", fit.rank},
      {"eigenvalues", std::vector<double>(fit.eigenvalues.begin(), fit.eigenvalues.end())},
      {"effective_rank", EffectiveRank(fit.eigenvalues)},
      {"smallest_calibrated_batch_size", oracle.smallest_calibrated_batch_size()},
      {"warnings", warnings},
      {"interpolates", fit.interpolates},
      {"scaling", oracle.info().scaling},
  };
  if (inspected.refusal.empty()) {
    result["limits"] = {{"min_batch_size", oracle.info().limits.min_batch_size},
                        {"max_batch_size", oracle.info().limits.max_batch_size}};
    if (oracle.defence().mask_variance.has_value()) result["mask_variance"] = *oracle.defence().mask_variance;
    GRADORACLE_ASSIGN_OR_RETURN(const nlohmann::ordered_json report, LeakageReport(config, oracle));
    result.update(report);
  }
  if (!options.compare.empty()) {
    const absl::StatusOr<double> relative_error = Compare(options.compare, fit.hessian);
    GRADORACLE_RETURN_IF_ERROR(About("--compare", "compare", options.compare, relative_error.status()));
    result["relative_error"] = *relative_error;
  }
  if (!options.hessian_out.empty()) {
    GRADORACLE_RETURN_IF_ERROR(
        About("--hessian-out", "hessian_out", options.hessian_out, WriteNpy(options.hessian_out, fit.hessian)));
  }
  if (!options.scaling_out.empty()) {
    GRADORACLE_RETURN_IF_ERROR(
        About("--scaling-out", "scaling_out", options.scaling_out, WriteScaling(options.scaling_out, oracle)));
  }
  return result;
}

}  // namespace gradoracle
