#include "tests/core/gradient_law_experiments.h"

#include <cmath>
#include <random>

#include "Eigen/QR"
#include "absl/types/span.h"

namespace gradoracle {

Experiment MakeExperiment(const std::string& name, int64_t row_count, int64_t batch_size, Sampling sampling,
                          const NoisePolicy& noise, double residual_variance, double distance) {
  std::mt19937_64 generator(20'261'123);
  std::normal_distribution<double> normal;
  Experiment experiment;
  experiment.name = name;
  RegressionData& data = experiment.data;
  const Eigen::MatrixXd mixing =
      Eigen::MatrixXd::NullaryExpr(kDimension, kDimension, [&] { return normal(generator); });
  data.features = RowMajorMatrix::NullaryExpr(row_count, kDimension, [&] { return normal(generator); });
  data.features = (data.features * (Eigen::MatrixXd::Identity(kDimension, kDimension) + 0.3 * mixing)).eval();
  data.targets = data.features.rowwise().sum();
  for (double& target : data.targets) target += std::sqrt(residual_variance) * normal(generator);

  const Eigen::VectorXd fit = data.features.colPivHouseholderQr().solve(data.targets);
  experiment.options.sampling = sampling;
  experiment.options.noise = noise;
  experiment.options.residual_variance =
      (data.features * fit - data.targets).squaredNorm() / static_cast<double>(row_count - kDimension);
  experiment.query.weights = fit.array() + distance / std::sqrt(static_cast<double>(kDimension));
  experiment.query.batch_size = batch_size;
  experiment.query.count = kGradients;
  for (size_t i = 0; i < experiment.key.size(); ++i) experiment.key[i] = static_cast<uint8_t>(i * 7 + name.size());
  return experiment;
}

Experiment WhiteBoxExperiment(Sampling sampling) {
  return MakeExperiment("white box", 500, 40, sampling, {NoiseRule::kFixed, 1, 2.0}, 0.5, 1.5);
}

Experiment ReadableNoiseExperiment() {
  return MakeExperiment("readable noise", 500, 4, Sampling::kWithoutReplacement, {NoiseRule::kFixed, 1, 2.0}, 0.5, 1.5);
}

Experiment BlackBoxExperiment(Sampling sampling) {
  return MakeExperiment("black box", 500, 40, sampling, {NoiseRule::kFixed, 1, 2.0}, 0.5, 1.0);
}

Experiment RowsOnlyExperiment(Sampling sampling) {
  return MakeExperiment("rows only", 80, 40, sampling, {NoiseRule::kNone, 1, 0}, 0.5, 1.5);
}

Experiment CalibratedExperiment() {
  return MakeExperiment("calibrated", 80, 40, Sampling::kWithoutReplacement, {NoiseRule::kCalibrated, 1, 0}, 32, 0);
}

GradientSample RunEngine(const Experiment& experiment) {
  const GradientEngine engine(&experiment.data, experiment.options);
  absl::StatusOr<GradientStream> stream = engine.Start(experiment.query, experiment.key);
  GradientSample sample{&experiment.data,
                        experiment.query.weights,
                        experiment.query.batch_size,
                        stream->injected_variance(),
                        experiment.options.sampling,
                        RowMajorMatrix(experiment.query.count, experiment.data.dimension()),
                        DocumentedRows(experiment)};
  stream->Compute(0, sample.gradients);
  return sample;
}

std::vector<uint32_t> DocumentedRows(const Experiment& experiment) {
  RandomStream random(experiment.key);
  RowSampler sampler(experiment.options.sampling, experiment.data.row_count(), experiment.query.batch_size);
  const auto n = static_cast<size_t>(experiment.query.batch_size);
  std::vector<uint32_t> rows(static_cast<size_t>(experiment.query.count) * n);
  for (int64_t k = 0; k < experiment.query.count; ++k) {
    sampler.Draw(random, k, absl::MakeSpan(rows).subspan(static_cast<size_t>(k) * n, n));
  }
  return rows;
}

}  // namespace gradoracle
