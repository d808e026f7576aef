// Which estimator is how good on real data: `auto` against every single estimator, and against the plain covariance at
// the optimum with as many gradients (docs/estimators.md has the table).
//   estimator_grid [--count M] [--batch-size N] [--seeds S] [--first-seed F] NAME=FILE...
// For every data set x what the owner allows x where the caller starts: mean relative errors over the seeds, in units
// of the near-optimum covariance's. Runs of one seed share the start and the oracle's keys. Prints a markdown table.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/random/gaussian_distribution.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/estimation/estimator.h"
#include "core/error_norm.h"
#include "core/local_oracle.h"
#include "core/query_policy.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr double kFar = 4;            // q = D'HD of the far start, in n
constexpr double kShortNorm = 3;      // limit on |w| that leaves no room for designs (R^2 = 9n < 10n), in sqrt(n)
constexpr double kLargeNoise = 1000;  // extra noise variance where noise is allowed, in n

struct Settings {
  int64_t count = 4096;
  int64_t batch_size = 256;
  int64_t seeds = 2;
  int64_t first_seed = 1;
  std::vector<std::pair<std::string, std::string>> data;  // name, file
};

struct Policy {
  std::string name;
  bool noise;
  bool designs;
  std::vector<Estimator> singles;
};

const std::vector<Policy>& Policies() {
  using enum Estimator;
  static const std::vector<Policy> policies = {
      {"everything", true, true, {kCovariance, kCorrected, kTwoLevel, kProbe, kActive, kWarmUp}},
      {"designs", false, true, {kCovariance, kCorrected, kActive, kWarmUp}},
      {"noise only", true, false, {kCovariance, kCorrected, kTwoLevel, kProbe, kWarmUp}},
      {"nothing", false, false, {kCovariance, kCorrected, kWarmUp}}};
  return policies;
}

// A permissive oracle, narrowed to what a policy allows.
class NarrowedSource : public GradientSource {
 public:
  NarrowedSource(const LocalOracle& oracle, const Policy& policy, const Settings& settings, uint64_t seed)
      : info_(oracle.info()), keys_(seed), source_(&oracle, [this] { return NextKey(); }) {
    if (!policy.noise) info_.noise.curvature_probe = false;
    if (!policy.noise) info_.noise.extra_variances.clear();
    if (!policy.designs) {
      info_.limits.max_weights_norm = kShortNorm * std::sqrt(static_cast<double>(settings.batch_size));
    }
  }
  absl::StatusOr<OracleInfo> Info() override { return info_; }
  absl::Status Gradients(const GradientQuery& query, GradientSink sink) override {
    GRADORACLE_RETURN_IF_ERROR(ValidateQuery(query, info_));
    return source_.Gradients(query, sink);
  }

 private:
  absl::StatusOr<RequestKey> NextKey() {
    RequestKey key;
    for (uint8_t& byte : key) byte = static_cast<uint8_t>(keys_());
    return key;
  }

  OracleInfo info_;
  std::mt19937_64 keys_;
  LocalGradientSource source_;
};

// w* + D with D isotropic and D'HD = 4n, within the shorter limit on |w|.
Eigen::VectorXd FarStart(const LocalOracle& oracle, const Settings& settings, std::mt19937_64& generator) {
  absl::gaussian_distribution<double> normal;
  const double n = static_cast<double>(settings.batch_size);
  for (;;) {
    Eigen::VectorXd offset(oracle.info().dimension);
    for (double& entry : offset) entry = normal(generator);
    offset *= std::sqrt(kFar * n / offset.dot(oracle.fit().hessian * offset));
    Eigen::VectorXd weights = oracle.fit().weights + offset;
    if (weights.norm() <= kShortNorm * std::sqrt(n)) return weights;
  }
}

// Over the seeds.
struct Tally {
  std::vector<double> errors;
  std::map<std::string, int> chosen;
  int not_converged = 0;
  double silent = 0;  // sum of the errors of runs that did not say so
  int limits = 0;
  int covered = 0;
  int refused = 0;

  double Mean() const {
    double sum = 0;
    for (const double error : errors) sum += error;
    return sum / static_cast<double>(errors.size());
  }
  // Of the mean, relative.
  double Deviation() const {
    double sum = 0;
    for (const double error : errors) sum += (error - Mean()) * (error - Mean());
    const double count = static_cast<double>(errors.size());
    return count < 2 ? 0 : std::sqrt(sum / (count - 1) / count) / Mean();
  }
};

void Run(const LocalOracle& oracle, const Policy& policy, const Settings& settings, uint64_t seed,
         const Eigen::VectorXd& weights, Estimator estimator, bool unit_diagonal, Tally& tally) {
  NarrowedSource source(oracle, policy, settings, seed);
  EstimationOptions options;
  options.estimator = estimator;
  options.weights = weights;
  options.batch_size = settings.batch_size;
  options.count = settings.count;
  options.impose_unit_diagonal = unit_diagonal;
  std::mt19937_64 generator(seed + 1'000'000);
  const absl::StatusOr<HessianEstimate> estimate = EstimateHessian(source, options, generator);
  if (!estimate.ok()) {
    ++tally.refused;
    return;
  }
  if (estimate->gradients > settings.count) std::abort();
  const double error = *RelativeError(estimate->hessian, oracle.fit().hessian);
  tally.errors.push_back(error);
  ++tally.chosen[std::string(EstimatorName(estimate->estimator))];
  if (estimate->not_converged.empty()) {
    tally.silent += error;
  } else {
    ++tally.not_converged;
  }
  if (estimate->relative_error.upper.has_value()) {
    ++tally.limits;
    if (error <= *estimate->relative_error.upper) ++tally.covered;
  }
}

void RunDataSet(const std::string& name, const LocalOracle& oracle, const Settings& settings) {
  const Eigen::VectorXd zeros = Eigen::VectorXd::Zero(oracle.info().dimension);
  const Policy& everything = Policies().front();
  Tally near, near_unit;
  std::array<std::array<Tally, 4>, 2> chosen_by_rule;                  // start, policy
  std::array<std::map<std::pair<Estimator, bool>, Tally>, 2> singles;  // start; estimator, whether |w| may be long
  for (int64_t seed = settings.first_seed; seed < settings.first_seed + settings.seeds; ++seed) {
    const uint64_t key = static_cast<uint64_t>(seed);
    std::mt19937_64 generator(key);
    const std::array<Eigen::VectorXd, 2> starts = {zeros, FarStart(oracle, settings, generator)};
    Run(oracle, everything, settings, key, oracle.fit().weights, Estimator::kCovariance, false, near);
    Run(oracle, everything, settings, key, oracle.fit().weights, Estimator::kCovariance, true, near_unit);
    for (size_t start = 0; start < 2; ++start) {
      for (size_t p = 0; p < Policies().size(); ++p) {
        const Policy& policy = Policies()[p];
        Run(oracle, policy, settings, key, starts[start], Estimator::kAuto, true, chosen_by_rule[start][p]);
        for (const Estimator single : policy.singles) {
          Tally& tally = singles[start][{single, policy.designs && single == Estimator::kWarmUp}];
          if (static_cast<int64_t>(tally.errors.size()) + tally.refused > seed - settings.first_seed) continue;
          Run(oracle, policy, settings, key, starts[start], single, true, tally);
        }
      }
    }
    absl::FPrintF(stderr, "%s: seed %d done\n", name, seed);
  }
  for (size_t p = 0; p < Policies().size(); ++p) {
    for (size_t start = 0; start < 2; ++start) {
      const Policy& policy = Policies()[p];
      const Tally& by_rule = chosen_by_rule[start][p];
      const Tally* best = nullptr;
      std::string best_name, all;
      for (const Estimator single : policy.singles) {
        const Tally& tally = singles[start][{single, policy.designs && single == Estimator::kWarmUp}];
        if (tally.errors.empty()) continue;
        absl::StrAppendFormat(&all, "%s%s %.2f", all.empty() ? "" : ", ", EstimatorName(single),
                              tally.Mean() / near.Mean());
        if (tally.refused > 0) continue;
        if (best != nullptr && tally.Mean() >= best->Mean()) continue;
        best = &tally;
        best_name = std::string(EstimatorName(single));
      }
      const int silent = static_cast<int>(by_rule.errors.size()) - by_rule.not_converged;
      const std::string chosen = absl::StrJoin(by_rule.chosen, ", ", [](std::string* text, const auto& entry) {
        absl::StrAppend(text, entry.first, " ", entry.second);
      });
      absl::PrintF("| %s | %s | %s | %.4f | %.2f | %s %.2f | %.2f | %.2f ± %.2f | %s | %d | %s | %d/%d | %s |\n", name,
                   policy.name, start == 0 ? "w = 0" : "far", near.Mean(), near_unit.Mean() / near.Mean(), best_name,
                   best->Mean() / near.Mean(), by_rule.Mean() / best->Mean(), by_rule.Mean() / near.Mean(),
                   by_rule.Deviation() * by_rule.Mean() / near.Mean(), chosen, by_rule.not_converged,
                   silent > 0 ? absl::StrFormat("%.2f", by_rule.silent / silent / near.Mean()) : "-", by_rule.covered,
                   by_rule.limits, all);
    }
  }
  std::fflush(stdout);
}

bool Parse(int argc, char** argv, Settings& settings) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto number = [&](int64_t& value) {
      return i + 1 < argc && absl::SimpleAtoi(argv[++i], &value) && value > 0;
    };
    if (word == "--count") {
      if (!number(settings.count)) return false;
    } else if (word == "--batch-size") {
      if (!number(settings.batch_size)) return false;
    } else if (word == "--seeds") {
      if (!number(settings.seeds)) return false;
    } else if (word == "--first-seed") {
      if (!number(settings.first_seed)) return false;
    } else {
      const std::pair<std::string, std::string> data = absl::StrSplit(word, absl::MaxSplits('=', 1));
      if (data.second.empty()) return false;
      settings.data.push_back(data);
    }
  }
  return !settings.data.empty();
}

int Main(int argc, char** argv) {
  Settings settings;
  if (!Parse(argc, argv, settings)) {
    absl::FPrintF(stderr,
                  "usage: estimator_grid [--count M] [--batch-size N] [--seeds S] [--first-seed F] NAME=FILE...\n");
    return 2;
  }
  absl::PrintF("m = %d, n = %d, %d seeds from %d; errors in units of the near-optimum covariance's\n\n", settings.count,
               settings.batch_size, settings.seeds, settings.first_seed);
  absl::PrintF(
      "| data | allowed | start | near-optimum | with unit diagonal | best single | auto / best single | "
      "auto / near-optimum | auto chose | not converged | the others / near-optimum | within limit | singles |\n");
  absl::PrintF("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
  for (const auto& [name, file] : settings.data) {
    OracleOptions options;
    options.data_path = file;
    options.curvature_probe = true;
    options.extra_noise_variances = {kLargeNoise * static_cast<double>(settings.batch_size)};
    const absl::StatusOr<std::unique_ptr<LocalOracle>> oracle = LocalOracle::Create(options);
    if (!oracle.ok()) {
      absl::FPrintF(stderr, "%s: %s\n", name, std::string(oracle.status().message()));
      return 1;
    }
    RunDataSet(name, **oracle, settings);
  }
  return 0;
}

}  // namespace
}  // namespace gradoracle

int main(int argc, char** argv) { return gradoracle::Main(argc, argv); }
