#include "client/audit/attack_task.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <utility>

#include "Eigen/Eigenvalues"
#include "absl/strings/str_cat.h"
#include "client/audit/attacked_source.h"
#include "client/estimation/shrinkage.h"
#include "client/estimation/unit_diagonal.h"
#include "core/error_norm.h"
#include "core/random_stream.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr Eigen::Index kLargestSubspace = 10;

std::mt19937_64 SeededGenerator(const std::string& seed) {
  const std::string digest = Sha256(absl::StrCat("gradoracle/audit/attacker\n", seed));
  std::seed_seq words(digest.begin(), digest.end());
  return std::mt19937_64(words);
}

nlohmann::json NumberOrNull(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

Eigen::VectorXd DescendingEigenvalues(const Eigen::MatrixXd& matrix) {
  return Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(matrix, Eigen::EigenvaluesOnly).eigenvalues().reverse();
}

}  // namespace

Truth TruthOf(const LeastSquaresFit& fit) { return {fit.hessian, fit.eigenvalues, fit.weights}; }

std::string RefinementSuffix(Refinement refinement) {
  switch (refinement) {
    case Refinement::kNone:
      return "";
    case Refinement::kUnitDiagonal:
      return "_unit";
    case Refinement::kShrunk:
      return "_shrunk";
  }
  return "";
}

bool IsRefinable(Refinement refinement, const Attack& attack, const OracleInfo& info) {
  switch (refinement) {
    case Refinement::kNone:
      return true;
    case Refinement::kUnitDiagonal:
      return HasUnitDiagonal(info);
    case Refinement::kShrunk:
      return attack.covariance;
  }
  return false;
}

Eigen::MatrixXd Refine(Refinement refinement, const Recovery& recovery, bool unit_diagonal) {
  Eigen::MatrixXd hessian = recovery.hessian;
  if (refinement == Refinement::kNone) return hessian;
  if (unit_diagonal) ImposeUnitDiagonal(UnitDiagonalScale(hessian), hessian);
  if (refinement == Refinement::kShrunk) {
    absl::StatusOr<ShrunkCovariance> shrunk = Shrink(ShrinkageMethod::kOas, hessian, recovery.gradients);
    if (shrunk.ok()) return std::move(shrunk->matrix);
  }
  return hessian;
}

std::vector<double> SubspaceOverlaps(const Eigen::MatrixXd& truth, const Eigen::MatrixXd& estimate) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> of_truth(truth), of_estimate(estimate);
  const Eigen::Index largest = std::min(truth.rows(), kLargestSubspace);
  const Eigen::MatrixXd cosines =
      of_truth.eigenvectors().rightCols(largest).transpose() * of_estimate.eigenvectors().rightCols(largest);
  std::vector<double> overlaps;
  for (Eigen::Index k = 1; k <= largest; ++k) {
    overlaps.push_back(cosines.bottomRightCorner(k, k).squaredNorm() / static_cast<double>(k));
  }
  return overlaps;
}

absl::StatusOr<nlohmann::json> RunAttack(const AttackRun& run, GradientSource& source, const std::string& seed,
                                         const std::atomic<bool>& stop) {
  AttackedSource attacked(source, &stop);
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, attacked.Info());
  const bool unit_diagonal = HasUnitDiagonal(info);
  const nlohmann::json nothing = std::vector<nlohmann::json>(run.budgets.size(), nullptr);
  nlohmann::json result = {{"gradients", nothing}, {"errors", nlohmann::json::object()}};
  for (const Refinement refinement : kRefinements) {
    if (IsRefinable(refinement, *run.attack, info)) result["errors"][RefinementSuffix(refinement)] = nothing;
  }
  std::optional<Recovery> last;
  const auto judge = [&](size_t index, const Recovery& recovery) {
    result["gradients"][index] = recovery.gradients;
    last = recovery;
    if (run.truth == nullptr) return;
    for (auto& [suffix, errors] : result["errors"].items()) {
      for (const Refinement refinement : kRefinements) {
        if (RefinementSuffix(refinement) != suffix) continue;
        const absl::StatusOr<double> error =
            RelativeError(Refine(refinement, recovery, unit_diagonal), run.truth->hessian);
        if (error.ok()) errors[index] = NumberOrNull(*error);
      }
    }
    if (recovery.weights.has_value()) {
      if (!result.contains("weights_error")) result["weights_error"] = nothing;
      const Eigen::VectorXd off = *recovery.weights - run.truth->weights;
      const double whole = run.truth->weights.dot(run.truth->hessian * run.truth->weights);
      result["weights_error"][index] = NumberOrNull(off.dot(run.truth->hessian * off) / whole);
    }
  };
  std::mt19937_64 generator = SeededGenerator(seed);
  GRADORACLE_RETURN_IF_ERROR(run.attack->run(attacked, run.setting, run.budgets, generator, judge));
  if (run.details && last.has_value()) {
    for (const Refinement refinement : kRefinements) {
      if (!IsRefinable(refinement, *run.attack, info)) continue;
      const Eigen::MatrixXd hessian = Refine(refinement, *last, unit_diagonal);
      if (!hessian.allFinite()) continue;
      const std::string suffix = RefinementSuffix(refinement);
      const Eigen::VectorXd eigenvalues = DescendingEigenvalues(hessian);
      result["spectrum"][suffix] = std::vector<double>(eigenvalues.begin(), eigenvalues.end());
      if (run.truth != nullptr) result["overlaps"][suffix] = SubspaceOverlaps(run.truth->hessian, hessian);
    }
  }
  return result;
}

absl::StatusOr<nlohmann::json> RunAttackBudgetByBudget(
    const AttackRun& run, const std::function<std::unique_ptr<GradientSource>(const std::string& seed)>& open,
    const std::string& seed, const std::atomic<bool>& stop) {
  std::optional<nlohmann::json> all;
  absl::Status refused;
  for (size_t index = 0; index < run.budgets.size(); ++index) {
    AttackRun one = run;
    one.budgets = {run.budgets[index]};
    const std::string label = absl::StrCat(seed, "/", run.budgets[index]);
    const std::unique_ptr<GradientSource> source = open(label);
    absl::StatusOr<nlohmann::json> result = RunAttack(one, *source, label, stop);
    if (absl::IsResourceExhausted(result.status())) {
      refused = result.status();
      continue;
    }
    GRADORACLE_RETURN_IF_ERROR(result.status());
    const nlohmann::json nothing = std::vector<nlohmann::json>(run.budgets.size(), nullptr);
    if (!all.has_value()) all = nlohmann::json{{"gradients", nothing}, {"errors", nlohmann::json::object()}};
    (*all)["gradients"][index] = (*result)["gradients"][0];
    for (const auto& [suffix, errors] : (*result)["errors"].items()) {
      if (!(*all)["errors"].contains(suffix)) (*all)["errors"][suffix] = nothing;
      (*all)["errors"][suffix][index] = errors[0];
    }
    if (result->contains("weights_error")) {
      if (!all->contains("weights_error")) (*all)["weights_error"] = nothing;
      (*all)["weights_error"][index] = (*result)["weights_error"][0];
    }
    for (const char* details : {"spectrum", "overlaps"}) {
      if (result->contains(details)) (*all)[details] = (*result)[details];
    }
  }
  if (!all.has_value()) return refused;
  return *std::move(all);
}

LocalGradientSource::KeyGenerator SeededKeys(std::string label) {
  return [label = std::move(label), next = uint64_t{0}]() mutable -> absl::StatusOr<RequestKey> {
    const std::string digest = Sha256(absl::StrCat("gradoracle/audit/oracle\n", label, "\n", next++));
    RequestKey key;
    std::memcpy(key.data(), digest.data(), key.size());
    return key;
  };
}

}  // namespace gradoracle
