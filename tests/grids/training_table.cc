// Prints the table of docs/training.md: gradients that training needs, by method, on real data and on synthetic data of
// chosen condition number, against the information limit and against plain SGD tuned with the truth in hand.
//   training_table [--seeds N] FILE.csv.gz...      (no file: the bundled data; always the synthetic data after them)
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/optimise/trainer.h"
#include "tests/grids/grid_oracle.h"

namespace gradoracle {
namespace {

constexpr int64_t kBatchSize = 512;
constexpr double kNever = 1e18;

struct Cell {
  std::vector<double> reached;  // gradients when the true excess risk of the average was at the target, and stayed
  std::vector<double> stopped;  // gradients when the trainer stopped by its own estimate
  std::vector<double> ratio;    // true excess risk there / target
  int covered = 0;              // runs with the true excess risk below the reported upper limit
  int judged = 0;
  int halved = 0;
  std::string reason;
};

Cell Train(const LocalOracle& oracle, TrainingOptions options, double target, int seeds) {
  Cell cell;
  for (int seed = 1; seed <= seeds; ++seed) {
    LocalGradientSource source(&oracle, SeededKeys(static_cast<uint64_t>(seed)));
    double reached = kNever;
    options.batch_size = kBatchSize;
    options.watch = [&](const TrainingPoint& point, const Eigen::VectorXd& average) {
      if (ExcessRiskOf(oracle, average) > target) {
        reached = kNever;
      } else if (reached == kNever) {
        reached = static_cast<double>(point.gradients);
      }
      return true;
    };
    Trainer trainer = OrDie(Trainer::Create({{"grid", &source}}, options));
    if (const absl::Status status = trainer.Run(); !status.ok()) {
      std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
      cell.reached.push_back(kNever);
      cell.stopped.push_back(kNever);
      cell.ratio.push_back(kNever);
      continue;
    }
    const TrainingResult& result = trainer.result();
    const double truth = ExcessRiskOf(oracle, result.weights);
    cell.reached.push_back(reached);
    cell.stopped.push_back(result.stop == TrainingStop::kTargetReached ? static_cast<double>(result.gradients)
                                                                       : kNever);
    cell.ratio.push_back(truth / target);
    if (result.excess_risk.upper.has_value()) {
      ++cell.judged;
      cell.covered += truth <= *result.excess_risk.upper ? 1 : 0;
    }
    cell.halved += result.warning.empty() ? 0 : 1;
    cell.reason = result.reason;
  }
  return cell;
}

std::string Count(double count) { return count >= kNever ? "not reached" : absl::StrFormat("%.0f", count); }

void PrintCell(const std::string& data, const std::string& policy, const std::string& method, double floor,
               double bound, const Cell& cell) {
  const std::string covered = cell.judged > 0 ? absl::StrCat(cell.covered, "/", cell.judged) : "-";
  const std::string ratio = Median(cell.ratio) >= kNever ? "-" : absl::StrFormat("%.2f", Median(cell.ratio));
  std::printf("| %s | %s | %.0f | %.0f | %s | %s | %s | %s | %s |\n", data.c_str(), policy.c_str(), floor, bound,
              method.c_str(), Count(Median(cell.reached)).c_str(), Count(Median(cell.stopped)).c_str(), ratio.c_str(),
              covered.c_str());
  if (cell.halved > 0) std::fprintf(stderr, "  %s %s: %d runs warned\n", data.c_str(), method.c_str(), cell.halved);
  if (!cell.reason.empty()) std::fprintf(stderr, "  %s\n", cell.reason.c_str());
  std::fflush(stdout);
}

// Plain SGD as good as it can be: steps from the true top eigenvalue, the best of four, told to stop by the truth
// alone.
Cell TunedSgd(const LocalOracle& oracle, double target, int64_t most, int seeds, std::string& label) {
  Cell best;
  best.reached = {kNever};
  for (const double factor : {0.3, 0.6, 1.0, 1.6}) {
    TrainingOptions options;
    options.method = TrainingMethod::kSgd;
    options.step_size = factor / oracle.fit().eigenvalues(0);
    options.count = most;
    Cell cell = Train(oracle, options, target, seeds);
    if (Median(cell.reached) < Median(best.reached)) {
      label = absl::StrFormat("sgd, tuned (%.1f/lambda_max)", factor);
      best = std::move(cell);
      most = std::min<int64_t>(most, static_cast<int64_t>(1.5 * Median(best.reached)) + 64);
    }
  }
  best.stopped.clear();  // it does not stop by itself
  best.ratio.clear();
  best.judged = 0;
  return best;
}

void Study(const std::string& name, const LocalOracle& oracle, const std::string& policy, double total_noise,
           double target, bool calibrated, int seeds) {
  const double dimension = static_cast<double>(oracle.info().dimension);
  const double floor = FloorGradients(oracle.info().dimension, total_noise / static_cast<double>(kBatchSize), target);
  const double bound = calibrated ? 1.5 * floor : 4 * dimension + 4 * floor + 100;
  for (const TrainingMethod method : {TrainingMethod::kMixed, TrainingMethod::kPreconditioned, TrainingMethod::kNewton,
                                      TrainingMethod::kSgd, TrainingMethod::kAuto}) {
    if (method == TrainingMethod::kPreconditioned && !calibrated) continue;  // it knows the rule's level only
    TrainingOptions options;
    options.method = method;
    options.target_excess_risk = target;
    options.count = static_cast<int64_t>(8 * floor + 20 * dimension + 8000);
    PrintCell(name, policy, std::string(TrainingMethodName(method)), floor, bound,
              Train(oracle, options, target, seeds));
  }
  std::string label = "sgd, tuned";
  const Cell tuned =
      TunedSgd(oracle, target, static_cast<int64_t>(8 * floor + 20 * dimension + 8000), std::min(seeds, 5), label);
  PrintCell(name, policy, label, floor, bound, tuned);
}

void StudyData(const std::string& name, const RegressionData& data, bool standardise, int seeds, bool probe,
               bool calibrated_too) {
  OracleOptions options;
  options.standardise = standardise;
  options.max_weights_norm = 1e6;
  const std::unique_ptr<LocalOracle> plain = OrDie(LocalOracle::FromData(data, options));
  const double residual = plain->fit().residual_variance * (1 + 1e-9);
  options.extra_noise_variances = {residual};
  options.curvature_probe = probe;
  const std::unique_ptr<LocalOracle> small = OrDie(LocalOracle::FromData(data, options));
  Study(name, *small, probe ? "small noise, probe" : "small noise", residual, 1e-3 * residual, false, seeds);
  if (calibrated_too) {
    Study(name, *plain, "calibrated only", static_cast<double>(kBatchSize), 1e-2, true, seeds);
  }
}

}  // namespace
}  // namespace gradoracle

int main(int argc, char** argv) {
  int seeds = 20;
  bool probe = false;
  bool synthetic = true;
  bool calibrated = true;
  std::vector<std::string> files;
  for (int k = 1; k < argc; ++k) {
    const std::string word = argv[k];
    if (word == "--seeds" && k + 1 < argc && absl::SimpleAtoi(argv[k + 1], &seeds)) {
      ++k;
    } else if (word == "--probe") {
      probe = true;
    } else if (word == "--no-synthetic") {
      synthetic = false;
    } else if (word == "--no-calibrated") {
      calibrated = false;
    } else if (word.rfind("--", 0) == 0) {
      std::fprintf(stderr, "training_table [--seeds N] [--probe] [--no-synthetic] [--no-calibrated] FILE.csv.gz...\n");
      return 2;
    } else {
      files.push_back(word);
    }
  }
  if (files.empty()) files = {GRADORACLE_SOURCE_DIR "/examples/data/lucas_house.csv.gz"};
  std::printf("%d seeds, batch size %lld\n\n", seeds, static_cast<long long>(gradoracle::kBatchSize));
  std::printf(
      "| data (d, condition) | noise | floor | to reach | method | true excess at target after | stops by itself after "
      "| "
      "true excess there / target | within the limit |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
  for (const std::string& file : files) {
    const gradoracle::RegressionData data = gradoracle::OrDie(gradoracle::ReadRegressionData(file, {}));
    std::string name = file.substr(file.rfind('/') + 1);
    name = absl::StrCat(name.substr(0, name.find('.')), " (", data.dimension(), ")");
    gradoracle::StudyData(name, data, true, seeds, probe, calibrated);
  }
  if (!synthetic) return 0;
  for (const double condition : {10.0, 1e3, 1e5}) {
    gradoracle::StudyData(absl::StrFormat("Gaussian (50, %.0e)", condition),
                          gradoracle::GaussianData(60000, 50, condition, 1), false, seeds, probe, calibrated);
  }
  return 0;
}
