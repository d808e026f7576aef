#ifndef GRADORACLE_CORE_REPLY_GRID_H_
#define GRADORACLE_CORE_REPLY_GRID_H_

#include <cstdint>
#include <vector>

#include "core/noise_calibration.h"
#include "core/regression_data.h"
#include "core/sampling.h"

// Replies lie on a grid. A sum of data and noise in floating point takes the precision of its coarser operand, so its
// low bits tell something of the rows whatever the noise; rounded to a grid that is the same for every reply, they are
// gone. The grid is far below the noise, so nobody who estimates from the replies notices.
namespace gradoracle {

// What bounds the noise of the replies an oracle may give from below.
struct ReplyNoise {
  NoisePolicy policy;
  std::vector<double> extra_variances;  // total noise variances a request may ask for
  double residual_variance = 0;         // sigma^2, in served units
  Sampling sampling = Sampling::kIid;
  int64_t max_batch_size = 1;
  double isotropic_variance = 0;  // of the isotropic noise at max_batch_size (core/defence/defence_policy.h)
};

// The smallest tau^2/n of any request: a reply's covariance is at least that times H, at every w (theory 1.1).
// 0 when a reply may hold no noise at all (rule none or fixed 0, sigma^2 = 0).
double SmallestRelativeNoise(const ReplyNoise& noise, int64_t row_count);

// The largest power of two <= 1e-6 times the smallest standard deviation of a reply's coordinate,
//   sqrt(SmallestRelativeNoise * min_j H_jj + isotropic variance), over the features with H_jj > 0.
// 0, no grid, where that is 0: without noise there are no low bits to hide.
double ReplyGrid(const RegressionData& data, const ReplyNoise& noise);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_REPLY_GRID_H_
