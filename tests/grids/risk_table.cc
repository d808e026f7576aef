// Prints the tables of docs/risk.md: how often the intervals of EstimateRisk hold what the owner computes, and how far
// off its values are, at w = .8 w* with radius * dual norm = .1, batch size 256.
//   risk_table [--seeds N] [--count M] FILE.csv.gz...      (no file: the bundled data)
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/risk/risk_estimate.h"
#include "tests/grids/grid_oracle.h"

namespace gradoracle {
namespace {

constexpr int64_t kBatchSize = 256;
constexpr double kShift = 0.1;

struct Tally {
  int held = 0;
  double worst = 0;       // relative
  double squares = 0;     // of relative errors
  double half_width = 0;  // of the interval, relative, summed
  void Add(const Interval& interval, double truth) {
    held += interval.lower <= truth && truth <= interval.upper ? 1 : 0;
    const double error = interval.value / truth - 1;
    worst = std::max(worst, std::abs(error));
    squares += error * error;
    half_width += 0.5 * (interval.upper - interval.lower) / truth;
  }
};

void Study(const std::string& name, const RegressionData& data, AttackNorm norm, bool small_noise, bool probe,
           int64_t count, int seeds) {
  OracleOptions policy;
  if (small_noise) policy.extra_noise_variances = {1};
  policy.curvature_probe = probe;
  const std::unique_ptr<LocalOracle> oracle = OrDie(LocalOracle::FromData(data, policy));
  const Eigen::VectorXd weights = 0.8 * oracle->fit().weights;
  RiskOptions options;
  options.batch_size = kBatchSize;
  options.count = count;
  options.norm = norm;
  options.radius = kShift / DualNorm(weights, norm);
  const Eigen::ArrayXd residuals = (oracle->data().features * weights - oracle->data().targets).array();
  const double standard = residuals.square().mean();
  const double adversarial = (residuals.abs() + kShift).square().mean();

  Tally tallies[4];
  for (int seed = 1; seed <= seeds; ++seed) {
    LocalGradientSource source(oracle.get(), SeededKeys(static_cast<uint64_t>(seed)));
    const RiskEstimate estimate = OrDie(EstimateRisk(source, weights, options));
    tallies[0].Add(estimate.adversarial_risk, adversarial);
    tallies[1].Add(estimate.standard_risk, standard);
    tallies[2].Add(estimate.excess_risk, ExcessRiskOf(*oracle, weights));
    tallies[3].Add(estimate.residual_variance, oracle->fit().residual_variance);
  }
  const std::string policy_name = absl::StrCat(small_noise ? "rule and 1" : "rule only", probe ? ", probe" : "");
  const char* const values[] = {"adversarial_risk", "standard_risk", "excess_risk", "residual_variance"};
  for (int k = 0; k < 4; ++k) {
    const double runs = seeds;
    std::printf("| %s | %s | %s | %s | %d of %d | %.1f %% | %.1f %% | %.1f %% |\n", name.c_str(),
                std::string(AttackNormName(norm)).c_str(), policy_name.c_str(), values[k], tallies[k].held, seeds,
                100 * std::sqrt(tallies[k].squares / runs), 100 * tallies[k].worst, 100 * tallies[k].half_width / runs);
  }
  std::fflush(stdout);
}

}  // namespace
}  // namespace gradoracle

int main(int argc, char** argv) {
  int seeds = 200;
  int64_t count = 8192;
  std::vector<std::string> files;
  for (int k = 1; k < argc; ++k) {
    const std::string word = argv[k];
    const bool number = k + 1 < argc;
    if (word == "--seeds" && number && absl::SimpleAtoi(argv[k + 1], &seeds)) {
      ++k;
    } else if (word == "--count" && number && absl::SimpleAtoi(argv[k + 1], &count)) {
      ++k;
    } else if (word.rfind("--", 0) == 0) {
      std::fprintf(stderr, "risk_table [--seeds N] [--count M] FILE.csv.gz...\n");
      return 2;
    } else {
      files.push_back(word);
    }
  }
  if (files.empty()) files.push_back(GRADORACLE_SOURCE_DIR "/examples/data/lucas_house.csv.gz");
  std::printf("%d seeds, %lld gradients, batch size %lld\n\n", seeds, static_cast<long long>(count),
              static_cast<long long>(gradoracle::kBatchSize));
  std::printf(
      "| data (d) | attack | noise levels | value | interval holds it | error, rms | error, worst | half width |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
  for (const std::string& file : files) {
    const gradoracle::RegressionData data = gradoracle::OrDie(gradoracle::ReadRegressionData(file, {}));
    std::string name = file.substr(file.rfind('/') + 1);
    name = absl::StrCat(name.substr(0, name.find('.')), " (", data.dimension(), ")");
    gradoracle::Study(name, data, gradoracle::AttackNorm::kL2, true, true, count, seeds);
    gradoracle::Study(name, data, gradoracle::AttackNorm::kLinf, true, false, count, seeds);
    gradoracle::Study(name, data, gradoracle::AttackNorm::kL2, false, false, count, seeds);
  }
  return 0;
}
