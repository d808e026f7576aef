#ifndef GRADORACLE_CLIENT_AUDIT_ATTACK_TASK_H_
#define GRADORACLE_CLIENT_AUDIT_ATTACK_TASK_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "Eigen/Core"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "client/audit/attack.h"
#include "core/gradient_source.h"
#include "core/least_squares.h"
#include "core/local_oracle.h"
#include "nlohmann/json.hpp"

// One attack, run once, judged against the owner's truth.
namespace gradoracle {

// What the owner knows and attacks are judged by.
struct Truth {
  Eigen::MatrixXd hessian;      // H, (d, d)
  Eigen::VectorXd eigenvalues;  // of H, descending
  Eigen::VectorXd weights;      // w*, (d)
};
Truth TruthOf(const LeastSquaresFit& fit);

// What can be made of one and the same recovered Hessian, free of charge.
enum class Refinement {
  kNone,
  kUnitDiagonal,  // diag H = 1 imposed, where that is known
  kShrunk,        // and shrunk towards a multiple of the identity by OAS; covariances only [theory 2]
};
inline constexpr std::array<Refinement, 3> kRefinements = {Refinement::kNone, Refinement::kUnitDiagonal,
                                                           Refinement::kShrunk};
std::string RefinementSuffix(Refinement refinement);  // of an attack's name: "", "_unit", "_shrunk"

// Whether it makes sense for the attack on that oracle.
bool IsRefinable(Refinement refinement, const Attack& attack, const OracleInfo& info);
// The refined Hessian.
Eigen::MatrixXd Refine(Refinement refinement, const Recovery& recovery, bool unit_diagonal);

// Sum over the k largest of cos^2 of the principal angles, over k: |U_k'V_k|_F^2/k, U and V the eigenvectors of truth
// and estimate, k = 1 ... min(d, 10). 1: the same subspace; k/d: that of a random one.
std::vector<double> SubspaceOverlaps(const Eigen::MatrixXd& truth, const Eigen::MatrixXd& estimate);

// Everything that one run of an attack depends on.
struct AttackRun {
  const Attack* attack = nullptr;
  AttackSetting setting;
  std::vector<int64_t> budgets;  // ascending
  const Truth* truth = nullptr;  // null: unknown
  bool details = false;          // also spectrum and overlaps at the largest budget
};

// Runs it, and returns {"gradients": [..], "errors": {"": [..], "_unit": [..], "_shrunk": [..]}, "weights_error": [..],
// "spectrum": {"": [..]}, "overlaps": {"": [..]}}, one entry a budget, null where there is nothing. weights_error:
// (w - w*)'H(w - w*) / (w*'H w*). `seed` seeds what the attacker draws. Errors: the source's.
absl::StatusOr<nlohmann::json> RunAttack(const AttackRun& run, GradientSource& source, const std::string& seed,
                                         const std::atomic<bool>& stop);

// The same with a source of its own for each budget, made by `open`: what callers get of an oracle whose books do not
// let them begin again (--max-participation). A budget that is refused (kResourceExhausted) has nulls; all of them
// refused: that error.
absl::StatusOr<nlohmann::json> RunAttackBudgetByBudget(
    const AttackRun& run, const std::function<std::unique_ptr<GradientSource>(const std::string& seed)>& open,
    const std::string& seed, const std::atomic<bool>& stop);

// Keys for a LocalGradientSource, from a label: SHA-256(label, 0), SHA-256(label, 1), ... For simulations only.
LocalGradientSource::KeyGenerator SeededKeys(std::string label);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_ATTACK_TASK_H_
