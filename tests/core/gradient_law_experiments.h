#ifndef GRADORACLE_TESTS_CORE_GRADIENT_LAW_EXPERIMENTS_H_
#define GRADORACLE_TESTS_CORE_GRADIENT_LAW_EXPERIMENTS_H_

#include <cstdint>
#include <string>

#include "Eigen/Core"
#include "core/gradient_engine.h"
#include "core/random_stream.h"
#include "core/regression_data.h"
#include "core/sampling.h"
#include "tests/core/gradient_law_checks.h"

// Where the checks of the gradients' law are made: small data sets on which each sees what it is for.
namespace gradoracle {

// False-alarm budget of the suite 1e-6, shared by at most 40 checks (theory 7). Seeds are fixed.
inline constexpr double kFalseAlarm = 1e-6 / 40;
inline constexpr int64_t kDimension = 8;
// kGradients * kDimension = 96 000 >= DegreesForPower(5 %, kFalseAlarm, 1e-6) = 90 000 or so (asserted by a test).
inline constexpr int64_t kGradients = 12'000;

struct Experiment {
  std::string name;
  RegressionData data;
  GradientEngine::Options options;
  GradientQuery query;
  RequestKey key{};
};

// Correlated Gaussian features, target = features * ones + noise of variance residual_variance; residual_variance of
// the options is the least-squares fit's. `distance`: the query's weights are the fit's plus distance * ones / sqrt(d).
Experiment MakeExperiment(const std::string& name, int64_t row_count, int64_t batch_size, Sampling sampling,
                          const NoisePolicy& noise, double residual_variance, double distance);

// n = 40 > d, fixed noise, far from the optimum: for the checks given the batches (T1, T2).
Experiment WhiteBoxExperiment(Sampling sampling);
// n = 4 < d, distinct rows: the noise can be read off the gradients (T3, T8).
Experiment ReadableNoiseExperiment();
// n = 40, half the variance from the rows: for the checks from the gradients alone (T4 to T8).
Experiment BlackBoxExperiment(Sampling sampling);
// n = N/2 = 40 and no noise: all the variance is from the rows, so that the sampling shows.
Experiment RowsOnlyExperiment(Sampling sampling);
// n = N/2 = 40 without replacement, calibrated with sigma^2 = 0.8 n at the optimum: the variance factor shows.
Experiment CalibratedExperiment();

// The experiment's gradients by the engine, and the rows they are said to be of.
GradientSample RunEngine(const Experiment& experiment);
std::vector<uint32_t> DocumentedRows(const Experiment& experiment);

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_CORE_GRADIENT_LAW_EXPERIMENTS_H_
