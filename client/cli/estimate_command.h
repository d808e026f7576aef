#ifndef GRADORACLE_CLIENT_CLI_ESTIMATE_COMMAND_H_
#define GRADORACLE_CLIENT_CLI_ESTIMATE_COMMAND_H_

#include <optional>
#include <string>

#include "client/cli/command.h"
#include "client/cli/connection_flags.h"
#include "client/cli/gradient_flags.h"
#include "client/estimation/estimator_name.h"
#include "client/estimation/hessian_form.h"
#include "client/estimation/shrinkage.h"

namespace gradoracle {

// `gradoracle estimate`: the Hessian, from an oracle's gradients or from recorded ones.
class EstimateCommand : public Command {
 public:
  std::string Name() const override { return "estimate"; }
  std::string Description() const override;
  void AddFlags(FlagSet& flags) override;
  absl::Status Check() override;
  Outcome Run(Environment& environment) override;

  ConnectionFlags connection;
  GradientFlags gradients;  // --count may be left out with --from
  std::string out;
  std::string gradients_out;
  std::string from;
  Estimator estimator = Estimator::kAuto;
  bool no_unit_diagonal = false;
  HessianForm form = HessianForm::kDense;
  int64_t sketch_rows = kDefaultSketchRows;
  double trim = 0;
  ShrinkageMethod shrinkage = ShrinkageMethod::kNone;
  std::string state;
  std::optional<double> target_error;
  double level = 0.95;
  std::optional<double> total_noise_variance;

 private:
  absl::Status CheckNothingBesideFrom();
  absl::Status CheckForm();
  absl::Status CheckEstimator();
  // Whether --state or --target-error ask for gradients of one point, gone on with.
  bool continued() const { return !state.empty() || target_error.has_value(); }

  std::string typed_estimator_;
  std::string typed_form_;
  std::string typed_sketch_rows_;
  std::string typed_trim_;
  std::string typed_shrinkage_;
  std::string typed_level_;
  std::string typed_target_error_;
  std::string typed_total_noise_variance_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_ESTIMATE_COMMAND_H_
