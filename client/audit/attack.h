#ifndef GRADORACLE_CLIENT_AUDIT_ATTACK_H_
#define GRADORACLE_CLIENT_AUDIT_ATTACK_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "Eigen/Core"
#include "absl/functional/function_ref.h"
#include "absl/random/bit_gen_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/gradient_source.h"

// Attacks on the curvature: each asks a GradientSource for gradients, within a budget, and says what Hessian it makes
// of them. None looks at the data.
namespace gradoracle {

struct AttackSetting {
  int64_t batch_size = 0;  // n of the attacks that have no better choice of their own
  // What the attacker takes for tau^2 where the oracle does not tell it (rules fixed, none).
  double believed_noise_variance = 0;
  // Weights of a model that is public, which passive attacks can be run at; empty: none.
  Eigen::VectorXd published_weights;
};

// What an attack knows after `gradients` gradients.
struct Recovery {
  int64_t gradients = 0;
  Eigen::MatrixXd hessian;                 // (d, d), symmetric; its scale may be wrong where tau^2 is not known
  std::optional<Eigen::VectorXd> weights;  // of the least-squares fit, if the attack finds them too
};

// Takes what is known at the budget of that index.
using RecoverySink = absl::FunctionRef<void(size_t budget_index, const Recovery& recovery)>;

struct Attack {
  std::string name;         // stable: a key of the report
  std::string title;        // for people
  std::string description;  // what it does, in a sentence
  std::string requirement;  // what the policy must allow
  bool covariance = false;  // the Hessian is a sample covariance, so that shrinking it makes sense
  // OK when the policy allows the attack; otherwise kFailedPrecondition with the reason in words.
  std::function<absl::Status(const OracleInfo& info, const AttackSetting& setting)> available;
  // Rows the oracle draws for one gradient of the attack: for planning the time.
  std::function<int64_t(const OracleInfo& info, const AttackSetting& setting)> batch_size;
  // budgets: ascending, each >= 1. An attack that cannot do anything with a budget says nothing at that index. The
  // gradients at two budgets may be the same ones. Errors: those of the source. A refusal for an attack's own reasons
  // (too few gradients, a correction that would hurt) is no error.
  std::function<absl::Status(GradientSource& source, const AttackSetting& setting, absl::Span<const int64_t> budgets,
                             absl::BitGenRef generator, RecoverySink sink)>
      run;
};

// Every attack on the curvature, the passive ones first:
//   covariance            Cov(g) at w = 0 [theory 1.1]
//   covariance_at_model   the same at published weights, where the bias of theory 1.4 is gone
//   large_noise           Cov(g) at the largest noise level offered, which drowns that bias [theory 1.4.3 ii]
//   probe                 Cov(g) with the targets switched off: exact anywhere [theory 1.4.7]
//   corrected, two_level, warm_up, active, auto   as the estimators of these names
//   active_large_batch    active with the largest batches allowed: a batch's own spread falls as 1/n [theory 3.2]
//   averaging             mean gradients at 0 and at R q_1 ... R q_d, an orthonormal frame, with the largest batches:
//                         H = differences / R, w* = -H^+ gbar(0) [theory 3.1]
const std::vector<Attack>& CurvatureAttacks();

// nullptr when there is none of that name.
const Attack* FindAttack(absl::string_view name);

// H and w* from mean gradients at 0 and R q_j (theory 3.1): H Q = (gbar_j - gbar_0)/R, symmetrised; w* = -H^+ gbar_0.
// means: (d + 1, d), row 0 at w = 0; frame: (d, d), orthonormal columns q_j.
Recovery SolveAveraging(const RowMajorMatrix& means, const Eigen::MatrixXd& frame, double radius);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_ATTACK_H_
