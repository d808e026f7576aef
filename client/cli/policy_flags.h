#ifndef GRADORACLE_CLIENT_CLI_POLICY_FLAGS_H_
#define GRADORACLE_CLIENT_CLI_POLICY_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/flag_set.h"
#include "core/local_oracle.h"

namespace gradoracle {

// The flags of gradoracle-server that decide what an oracle gives away: data, noise, sampling, limits. The same names,
// meanings and defaults.
class PolicyFlags {
 public:
  PolicyFlags() = default;
  PolicyFlags(const PolicyFlags&) = delete;  // flags point into options
  PolicyFlags& operator=(const PolicyFlags&) = delete;

  void AddTo(FlagSet& flags);
  // Typed texts into options(). Errors: NOT_A_NUMBER and the like, naming the flag; what the data has to say to them is
  // LocalOracle's.
  absl::Status Check();

  bool has_data() const { return !options_.data_path.empty(); }
  // A flag other than those of the data was given: what a running oracle decides for itself.
  bool has_policy() const;
  const OracleOptions& options() const { return options_; }
  // --curvature-floor, which no oracle in memory keeps.
  std::optional<double> curvature_floor() const { return curvature_floor_; }
  // The flags given, for repeating the command: {"--data", "house.csv"}.
  std::vector<std::string> Words() const;

 private:
  // Of core/defence/defence_policy.h and the mask's budget.
  struct DefenceFlag {
    const char* name;
    const char* help;
    const char* placeholder;
    std::optional<double>* number = nullptr;
    std::optional<int64_t>* integer = nullptr;
    std::string typed = {};
  };
  absl::Status CheckDefences();

  OracleOptions options_;
  std::vector<DefenceFlag> defence_flags_ = {
      {"--clip-norm", "Clip each row's gradient to this length; with the next, and --sampling poisson", "C",
       &options_.defence.clip_norm},
      {"--gradient-noise-multiplier", "Deviation of the noise on the clipped sum, in clip norms", "S",
       &options_.defence.gradient_noise_multiplier},
      {"--mask-variance", "Isotropic noise on every reply in place of target noise", "V",
       &options_.defence.mask_variance},
      {"--mask-budget", "The mask's variance from gradients ...", "M", nullptr, &options_.mask_budget},
      {"--mask-error", "... after which probing still errs by this much", "E", &options_.mask_error},
      {"--max-participation", "Use no row more often than this; with --sampling shuffled_epochs", "K", nullptr,
       &options_.defence.max_participation},
      {"--weights-grid", "Answer at the nearest point of a grid, the same to everybody", "H",
       &options_.defence.weights_grid},
      {"--reply-grid", "Round replies to multiples of this power of two", "G", &options_.defence.reply_grid},
      {"--curvature-floor", "Answer nobody beyond the count at which known attacks could err by less than this", "E",
       &curvature_floor_}};
  std::optional<double> curvature_floor_;
  bool no_standardise_ = false;
  bool no_publish_defences_ = false;
  std::string typed_noise_rule_, typed_noise_scale_, typed_noise_variance_, typed_extra_, typed_sampling_;
  std::string typed_min_batch_size_, typed_max_batch_size_, typed_max_count_, typed_max_weights_norm_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_POLICY_FLAGS_H_
