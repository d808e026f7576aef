#ifndef GRADORACLE_TESTS_ESTIMATION_POPULATION_SOURCE_H_
#define GRADORACLE_TESTS_ESTIMATION_POPULATION_SOURCE_H_

#include <cstdint>
#include <random>
#include <vector>

#include "Eigen/Core"
#include "core/gradient_source.h"
#include "core/oracle_info.h"
#include "core/query_policy.h"
#include "core/status_macros.h"
#include "tests/estimation/gaussian_gradients.h"

namespace gradoracle {

// An oracle over a Gaussian population x ~ N(0, Sigma), diag Sigma = 1, whose law is known exactly [theory 1.1.4].
// Keeps the queries it was asked.
class PopulationSource : public GradientSource {
 public:
  PopulationSource(Eigen::MatrixXd sigma, Eigen::VectorXd optimum, uint64_t seed)
      : sigma_(std::move(sigma)), optimum_(std::move(optimum)), generator_(seed) {
    info.dimension = sigma_.rows();
    info.row_count = 1'000'000;
    info.scaling = "standardised";
    info.limits.max_batch_size = info.row_count;
  }

  absl::StatusOr<OracleInfo> Info() override { return info; }

  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override {
    GRADORACLE_RETURN_IF_ERROR(ValidateQuery(query, info));
    queries.push_back(query);
    const double n = static_cast<double>(query.batch_size);
    const Eigen::VectorXd delta =
        query.curvature_probe ? Eigen::VectorXd(Eigen::VectorXd::Zero(info.dimension)) : query.weights - optimum_;
    const double variance = query.total_noise_variance.value_or(n);
    constexpr int64_t kBlock = 128;
    for (int64_t done = 0; done < query.count; done += kBlock) {
      GRADORACLE_RETURN_IF_ERROR(sink(GaussianPopulationGradients(generator_, sigma_, delta, query.batch_size, variance,
                                                                  std::min(kBlock, query.count - done))));
    }
    return absl::OkStatus();
  }

  int64_t asked() const {
    int64_t count = 0;
    for (const GradientQuery& query : queries) count += query.count;
    return count;
  }

  OracleInfo info;
  std::vector<GradientQuery> queries;

 private:
  Eigen::MatrixXd sigma_;
  Eigen::VectorXd optimum_;
  std::mt19937_64 generator_;
};

// Correlations rho^|i-j|.
inline Eigen::MatrixXd DecayingCorrelation(int64_t dimension, double rho) {
  return Eigen::MatrixXd::NullaryExpr(dimension, dimension, [rho](Eigen::Index i, Eigen::Index j) {
    return std::pow(rho, static_cast<double>(std::abs(i - j)));
  });
}

// A point at distance q = D'Sigma D = `form` of the optimum, in a fixed generic direction.
inline Eigen::VectorXd PointAt(const Eigen::MatrixXd& sigma, const Eigen::VectorXd& optimum, double form) {
  const Eigen::VectorXd direction = Eigen::VectorXd::LinSpaced(sigma.rows(), -1, 2);
  return optimum + std::sqrt(form / direction.dot(sigma * direction)) * direction;
}

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_ESTIMATION_POPULATION_SOURCE_H_
