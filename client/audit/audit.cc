#include "client/audit/audit.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/audit/accounts.h"
#include "client/audit/audit_run.h"
#include "client/audit/findings.h"
#include "client/audit/simulation.h"
#include "client/estimation/recorded_gradients.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// The owner's side of an audit over the network: data in the units the oracle serves.
struct OwnersData {
  std::unique_ptr<LocalOracle> oracle;
  Truth truth;
};

absl::StatusOr<OwnersData> ReadOwnersData(const OracleOptions* data, int64_t dimension) {
  OwnersData owner;
  if (data == nullptr) return owner;
  GRADORACLE_ASSIGN_OR_RETURN(owner.oracle, LocalOracle::Create(*data));
  if (owner.oracle->info().dimension != dimension) {
    return InvalidField(
        "DATA_MISMATCH", "data",
        absl::StrCat("--data has ", owner.oracle->info().dimension, " features, but the gradients have ", dimension));
  }
  owner.truth = TruthOf(owner.oracle->fit());
  return owner;
}

// A source that is shared by all tasks, one after the other.
OpenSource OpenShared(GradientSource& source, const OracleInfo& info) {
  class Lent : public GradientSource {
   public:
    Lent(GradientSource& lender, OracleInfo told) : lender_(lender), told_(std::move(told)) {}
    absl::StatusOr<OracleInfo> Info() override { return told_; }
    absl::Status Gradients(const GradientQuery& query, GradientSink sink) override {
      return lender_.Gradients(query, sink);
    }

   private:
    GradientSource& lender_;
    OracleInfo told_;
  };
  return [&source, info](const std::string&) -> std::unique_ptr<GradientSource> {
    return std::make_unique<Lent>(source, info);
  };
}

}  // namespace

std::vector<int64_t> Checkpoints(int64_t budget) {
  std::vector<int64_t> checkpoints;
  for (int half_decades = 2;; ++half_decades) {
    const auto gradients = static_cast<int64_t>(std::llround(std::pow(10.0, half_decades / 2.0)));
    if (gradients >= budget) break;
    checkpoints.push_back(gradients);
  }
  checkpoints.push_back(budget);
  return checkpoints;
}

std::optional<int64_t> BudgetKeepingError(const std::vector<std::pair<int64_t, double>>& curve, double error) {
  if (curve.empty() || curve.front().second < error) return std::nullopt;
  for (size_t k = 1; k < curve.size(); ++k) {
    if (curve[k].second >= error) continue;
    const double from = std::log(curve[k - 1].second), to = std::log(curve[k].second);
    const double share = (from - std::log(error)) / (from - to);
    const double low = std::log(static_cast<double>(curve[k - 1].first));
    const double high = std::log(static_cast<double>(curve[k].first));
    return static_cast<int64_t>(std::floor(std::exp(low + share * (high - low))));
  }
  return curve.back().first;
}

absl::StatusOr<AuditOutcome> AuditSimulation(const OracleOptions& policy, const AuditOptions& options) {
  GRADORACLE_RETURN_IF_ERROR(CheckAuditOptions(options));
  GRADORACLE_ASSIGN_OR_RETURN(std::shared_ptr<const LocalOracle> oracle, LocalOracle::Create(policy));
  return Simulate(std::move(oracle), policy, options);
}

absl::StatusOr<AuditOutcome> AuditData(const RegressionData& data, const OracleOptions& policy,
                                       const AuditOptions& options) {
  GRADORACLE_RETURN_IF_ERROR(CheckAuditOptions(options));
  GRADORACLE_ASSIGN_OR_RETURN(std::shared_ptr<const LocalOracle> oracle, LocalOracle::FromData(data, policy));
  return Simulate(std::move(oracle), policy, options);
}

absl::StatusOr<AuditOutcome> AuditOracle(GradientSource& source, const OracleOptions* data,
                                         const AuditOptions& options) {
  GRADORACLE_RETURN_IF_ERROR(CheckAuditOptions(options));
  GRADORACLE_ASSIGN_OR_RETURN(const OracleInfo info, source.Info());
  GRADORACLE_RETURN_IF_ERROR(CheckBatchSize(options.batch_size, info.limits));
  GRADORACLE_ASSIGN_OR_RETURN(const OwnersData owner, ReadOwnersData(data, info.dimension));
  const LeastSquaresFit* fit = owner.oracle == nullptr ? nullptr : &owner.oracle->fit();
  const RegressionData* rows = owner.oracle == nullptr ? nullptr : &owner.oracle->data();
  Scenario scenario;
  scenario.name = "policy";
  scenario.info = info;
  scenario.open = OpenShared(source, info);
  scenario.setting.batch_size = options.batch_size;
  scenario.setting.believed_noise_variance =
      options.total_noise_variance.value_or(static_cast<double>(options.batch_size));
  if (fit != nullptr) scenario.setting.published_weights = fit->weights;
  scenario.budgets = Checkpoints(options.budget);
  scenario.attacks = AllAttacks();
  scenario.repetitions = options.repetitions;
  scenario.truth = fit == nullptr ? nullptr : &owner.truth;
  scenario.seed = options.seed;
  GRADORACLE_ASSIGN_OR_RETURN(
      const RunOutcome outcome,
      RunTasks(OrderTasks({scenario}, OneOracleFindings(scenario.open, info, options.batch_size, options.budget,
                                                        options.seed, rows, fit)),
               RunOptionsOf(options, 1, Fingerprint("oracle", scenario, info.defence, options))));
  nlohmann::json found = FindingsJson(outcome);
  found["differencing"] = NotTested("Needs two versions of the data; see an audit with --data alone.");
  found["weights_norm"] =
      NotTested("Probed at the policy's limit only (attack active); see an audit with --data alone.");
  const Strongest strongest = FindStrongest(scenario, outcome.results, options.level);
  nlohmann::json report =
      CommonReport("oracle", scenario, info.defence, options, outcome, fit, std::move(found), strongest);
  // Isotropic noise whose size callers are not told could only be guessed.
  if (owner.oracle != nullptr && (!info.noise.isotropic || HasIsotropicNoise(info.defence))) {
    AddAccountant(scenario, info.defence, ProfileOf(*owner.oracle), report);
  }
  report["assumptions"].push_back("Asked of a running oracle: each attack had the budget for itself.");
  return Conclude(std::move(report), scenario, outcome, strongest);
}

absl::StatusOr<AuditOutcome> AuditRecording(const std::string& path, const OracleOptions* data,
                                            const AuditOptions& options) {
  GRADORACLE_ASSIGN_OR_RETURN(const std::unique_ptr<RecordedGradients> recording, RecordedGradients::Open(path));
  AuditOptions limited = options;
  limited.budget = std::min(options.budget, recording->count());
  limited.repetitions = 1;
  GRADORACLE_RETURN_IF_ERROR(CheckAuditOptions(limited));
  GRADORACLE_ASSIGN_OR_RETURN(OracleInfo info, recording->Info());
  GRADORACLE_ASSIGN_OR_RETURN(const OwnersData owner, ReadOwnersData(data, info.dimension));
  const LeastSquaresFit* fit = owner.oracle == nullptr ? nullptr : &owner.oracle->fit();
  if (owner.oracle != nullptr) {
    info.scaling = owner.oracle->info().scaling;
    info.row_count = owner.oracle->info().row_count;
    info.dataset_version = owner.oracle->info().dataset_version;
  }
  // What its owner says of the recording; the rule is not known, only what tau^2 came to.
  info.noise.rule = NoiseRule::kScaled;
  info.noise.scale = limited.total_noise_variance.value_or(static_cast<double>(limited.batch_size)) /
                     static_cast<double>(limited.batch_size);
  info.limits.min_batch_size = limited.batch_size;
  info.limits.max_batch_size = limited.batch_size;
  Scenario scenario;
  scenario.name = "policy";
  scenario.info = info;
  scenario.open = OpenShared(*recording, info);
  scenario.setting.batch_size = limited.batch_size;
  scenario.budgets = Checkpoints(limited.budget);
  scenario.attacks = {FindAttack("covariance")};
  scenario.truth = fit == nullptr ? nullptr : &owner.truth;
  scenario.seed = limited.seed;
  GRADORACLE_ASSIGN_OR_RETURN(const std::string digest, recording->Digest());
  Scenario told = scenario;  // for the fingerprint
  told.info.dataset_version = absl::StrCat(info.dataset_version, " ", digest);
  GRADORACLE_ASSIGN_OR_RETURN(
      const RunOutcome outcome,
      RunTasks(
          OrderTasks({scenario},
                     OneOracleFindings(scenario.open, scenario.info, limited.batch_size, limited.budget, limited.seed,
                                       owner.oracle == nullptr ? nullptr : &owner.oracle->data(), fit)),
          RunOptionsOf(limited, 1, Fingerprint("recording", told, info.defence, limited))));
  nlohmann::json found = FindingsJson(outcome);
  found["differencing"] = NotTested("A recording is of one version of the data.");
  found["weights_norm"] = NotTested("A recording is of one point.");
  const Strongest strongest = FindStrongest(scenario, outcome.results, limited.level);
  nlohmann::json report =
      CommonReport("recording", scenario, info.defence, limited, outcome, fit, std::move(found), strongest);
  report["label_privacy"] = NotApplicable("A recording does not tell the policy it was made under.");
  report["gradient_privacy"] = report["label_privacy"];
  report["assumptions"].push_back(
      "Recorded gradients are taken on trust: one point, w = 0 for the scale of the noise, one batch size and noise "
      "level, as said on the command line.");
  return Conclude(std::move(report), scenario, outcome, strongest);
}

}  // namespace gradoracle
