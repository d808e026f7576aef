#ifndef GRADORACLE_CORE_ORACLE_INFO_H_
#define GRADORACLE_CORE_ORACLE_INFO_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/defence/defence_policy.h"
#include "core/noise_calibration.h"
#include "core/sampling.h"

namespace gradoracle {

// Limits of one request; a request outside is refused before any work.
struct QueryLimits {
  int64_t min_batch_size = 32;
  int64_t max_batch_size = 0;  // N for iid, floor(N/2) otherwise
  int64_t max_count = 1'000'000;
  double max_weights_norm = 100;  // Euclidean, in served units
};

// What callers are told about the noise. Nothing here is computed from the data.
struct NoiseInfo {
  NoiseRule rule = NoiseRule::kCalibrated;
  std::optional<double> scale;              // c of `scaled`
  std::optional<double> injected_variance;  // v of `fixed`
  std::vector<double> extra_variances;      // total noise variances a request may ask for
  bool curvature_probe = false;
  // Replies carry isotropic gradient noise and no target noise: their covariance is not the Hessian, up to a factor.
  // Always told, also where the defence itself is not.
  bool isotropic = false;
};

// Everything an oracle says about itself (GetInfo).
struct OracleInfo {
  int64_t dimension = 0;
  int64_t row_count = 0;
  std::string scaling;  // "standardised", "raw", or the SHA-256 of the scaling file
  std::string loss = "half_mean_squared_residual";
  NoiseInfo noise;
  Sampling sampling = Sampling::kIid;
  QueryLimits limits;
  DefencePolicy defence = {};  // as far as the owner tells
  std::string dataset_version;
  std::vector<std::string> feature_names;  // empty unless published
  std::string version;                     // of the program
};

// diag H = 1 exactly: an oracle of scaling "standardised" has standardised the features by its own rows. (By a
// published file: not exactly.)
bool HasUnitDiagonal(const std::string& scaling);
inline bool HasUnitDiagonal(const OracleInfo& info) { return HasUnitDiagonal(info.scaling); }

// tau^2 a caller may rely on at batch size n: n for calibrated, c*n for scaled; nullopt for fixed and none, whose total
// contains the residual variance, which callers are not told, and beside isotropic noise.
std::optional<double> KnownTotalNoiseVariance(const NoiseInfo& noise, int64_t batch_size);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_ORACLE_INFO_H_
