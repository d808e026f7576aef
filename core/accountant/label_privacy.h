#ifndef GRADORACLE_CORE_ACCOUNTANT_LABEL_PRIVACY_H_
#define GRADORACLE_CORE_ACCOUNTANT_LABEL_PRIVACY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/oracle_info.h"

// Privacy of one label y_i in a public range of width b - a, replaced by another of that range; features and who is in
// which batch are taken as public (theory 6a). Target noise alone: no amplification by sampling is claimed (6a.3), and
// nothing protects the features (6a.4).
namespace gradoracle {

// rho of zero-concentrated differential privacy after a row has been used `participations` times:
//   rho = participations (b - a)^2 / (2 tau_inj^2),
// by the data-free cap h_i <= 1 on the leverage (theory 6a.1, 6a.2). A use is one draw into one batch: a row drawn j
// times into a batch costs as much as j batches (its j noises are averaged, its shifts add up). A cap by shuffled
// epochs makes participations about m n / N; without one, a row may be in all m batches. width > 0, injected_variance >
// 0, participations >= 0.
double LabelRho(double width, double injected_variance, double participations);

// epsilon at delta of rho: rho + 2 sqrt(rho ln(1/delta)) (Bun and Steinke 2016).
double EpsilonOfRho(double rho, double delta);

// epsilon at delta of the Gaussian mechanism of mu = sqrt(2 rho), exactly, by bisection (Balle and Wang 2018):
//   delta = Phi(-eps/mu + mu/2) - e^eps Phi(-eps/mu - mu/2).
// Never above EpsilonOfRho.
double GaussianEpsilonOfRho(double rho, double delta);

struct LabelPrivacy {
  double rho = 0;
  double epsilon = 0;       // of the exact Gaussian
  double zcdp_epsilon = 0;  // of the simple conversion
};

// After `participations` uses of a row. Errors: kInvalidArgument PRIVACY_PARAMETER (a number out of range).
absl::StatusOr<LabelPrivacy> AccountLabels(double width, double injected_variance, double participations, double delta);

// Whether an epsilon may be printed for this oracle at all. Errors: kFailedPrecondition LABEL_PRIVACY_INVALID, saying
// why: the units look at the labels (standardised by the data itself), the noise does (any rule but fixed, extra
// variances), the grid of the replies does (unless --reply-grid sets it), or a row may be drawn several times into one
// batch (iid sampling), so that the number of gradients does not bound its uses.
absl::Status CheckLabelPrivacy(const OracleInfo& info, bool has_own_reply_grid);

// What the epsilon of AccountLabels assumes, in sentences; `capped`: uses are those of --max-participation.
std::vector<std::string> LabelPrivacyAssumptions(bool capped);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_ACCOUNTANT_LABEL_PRIVACY_H_
