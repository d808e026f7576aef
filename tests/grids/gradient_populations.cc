#include "tests/grids/gradient_populations.h"

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/random/gaussian_distribution.h"
#include "core/local_oracle.h"
#include "core/noise_calibration.h"
#include "core/read_regression_data.h"

namespace gradoracle {
namespace {

template <typename T>
T Require(absl::StatusOr<T> result) {
  if (result.ok()) return *std::move(result);
  std::cerr << result.status() << "\n";
  std::abort();
}

class GaussianPopulation : public GradientPopulation {
 public:
  GaussianPopulation(const Eigen::VectorXd& variances, int64_t batch_size)
      : batch_size_(static_cast<double>(batch_size)),
        deviations_(variances.cwiseSqrt()),
        truth_(variances.asDiagonal()) {}

  int64_t dimension() const override { return deviations_.size(); }
  const Eigen::MatrixXd& Truth() const override { return truth_; }

  RowMajorMatrix Draw(std::mt19937_64& generator, int64_t count) override {
    absl::gaussian_distribution<double> normal;
    std::gamma_distribution<double> half_chi_square(batch_size_ / 2, 2.0);
    RowMajorMatrix gradients(count, dimension());
    for (int64_t k = 0; k < count; ++k) {
      // sqrt(n chi^2_n) / n
      const double scale = std::sqrt(half_chi_square(generator) / batch_size_);
      for (int64_t j = 0; j < dimension(); ++j) gradients(k, j) = scale * deviations_(j) * normal(generator);
    }
    return gradients;
  }

 private:
  double batch_size_;
  Eigen::VectorXd deviations_;
  Eigen::MatrixXd truth_;
};

RegressionData HouseData(int64_t dimension) {
  const RegressionData all = Require(
      ReadRegressionData(std::string(GRADORACLE_SOURCE_DIR) + "/examples/data/lucas_house.csv.gz", ReadOptions()));
  const int64_t base = all.dimension();
  RegressionData data;
  data.targets = all.targets;
  data.target_name = all.target_name;
  data.features.resize(all.row_count(), dimension);
  int64_t filled = 0;
  const auto take = [&](const Eigen::VectorXd& column, const std::string& name) {
    if (filled == dimension || column.minCoeff() == column.maxCoeff()) return;
    data.features.col(filled++) = column;
    data.feature_names.push_back(name);
  };
  // Every seventh: 7 and 31 have no common divisor, so that ten columns hold sizes, years and one-hot ones.
  for (int64_t j = 0; j < base; ++j) take(all.features.col((7 * j) % base), all.feature_names[(7 * j) % base]);
  for (int64_t i = 0; i < base; ++i) {
    for (int64_t j = i; j < base; ++j) {
      take(all.features.col(i).cwiseProduct(all.features.col(j)), all.feature_names[i] + " * " + all.feature_names[j]);
    }
  }
  return data;
}

class HousePopulation : public GradientPopulation {
 public:
  HousePopulation(int64_t dimension, int64_t batch_size)
      : oracle_(Require(LocalOracle::FromData(HouseData(dimension), Options()))) {
    query_.weights = oracle_->fit().weights;
    query_.batch_size = batch_size;
    const Eigen::VectorXd residuals = oracle_->data().features * query_.weights - oracle_->data().targets;
    const double rows = static_cast<double>(oracle_->data().row_count());
    const double n = static_cast<double>(batch_size);
    const RowMajorMatrix weighted = residuals.asDiagonal() * oracle_->data().features;
    truth_ = (n - oracle_->fit().residual_variance) / n * oracle_->fit().hessian +
             weighted.transpose() * weighted / (rows * n);
  }

  int64_t dimension() const override { return oracle_->data().dimension(); }
  const Eigen::MatrixXd& Truth() const override { return truth_; }

  RowMajorMatrix Draw(std::mt19937_64& generator, int64_t count) override {
    LocalGradientSource source(oracle_.get(), [&generator]() -> absl::StatusOr<RequestKey> {
      RequestKey key;
      for (uint8_t& byte : key) byte = static_cast<uint8_t>(generator());
      return key;
    });
    query_.count = count;
    RowMajorMatrix gradients(count, dimension());
    int64_t filled = 0;
    const absl::Status status = source.Gradients(query_, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
      gradients.middleRows(filled, block.rows()) = block;
      filled += block.rows();
      return absl::OkStatus();
    });
    if (!status.ok()) {
      std::cerr << status << "\n";
      std::abort();
    }
    return gradients;
  }

 private:
  static OracleOptions Options() {
    OracleOptions options;
    options.min_batch_size = 1;
    options.max_weights_norm = 1e6;
    return options;
  }

  std::unique_ptr<LocalOracle> oracle_;
  GradientQuery query_;
  Eigen::MatrixXd truth_;
};

}  // namespace

std::unique_ptr<GradientPopulation> MakeGaussianPopulation(const Eigen::VectorXd& variances, int64_t batch_size) {
  return std::make_unique<GaussianPopulation>(variances, batch_size);
}

Eigen::VectorXd SpectrumVariances(const std::string& spectrum, int64_t dimension) {
  Eigen::VectorXd variances = Eigen::VectorXd::Ones(dimension);
  if (spectrum == "1/j") {
    variances = Eigen::ArrayXd::LinSpaced(dimension, 1, static_cast<double>(dimension)).inverse();
  } else if (spectrum == "5 spikes") {
    variances.head(5) << 20, 16, 12, 8, 5;
  }
  return variances;
}

std::unique_ptr<GradientPopulation> MakeHousePopulation(int64_t dimension, int64_t batch_size) {
  return std::make_unique<HousePopulation>(dimension, batch_size);
}

}  // namespace gradoracle
