#include "client/cli/policy_flags.h"

#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/cli/flag_values.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {

void PolicyFlags::AddTo(FlagSet& flags) {
  flags.Text("--data", options_.data_path, "The owner's data: .csv, .csv.gz or .npy", "FILE");
  flags.Text("--target", options_.target, "Column to predict (default: the last)", "NAME");
  flags.Switch("--no-standardise", no_standardise_, "Serve the file's own units");
  flags.Text("--scaling", options_.scaling_path, "Units to serve, published: means and deviations", "FILE.json");
  flags.Text("--noise-rule", typed_noise_rule_,
             "calibrated (default), scaled, fixed or none; this and the next ones as for gradoracle-server", "RULE");
  flags.Text("--noise-scale", typed_noise_scale_, "Total noise variance in batch sizes (rule scaled)", "C");
  flags.Text("--noise-variance", typed_noise_variance_, "Injected noise variance (rule fixed)", "V");
  flags.Text("--extra-noise-variances", typed_extra_, "Total noise variances that requests may ask for", "V,...");
  flags.Switch("--curvature-probe", options_.curvature_probe, "Requests may switch the targets off");
  flags.Text("--sampling", typed_sampling_, "iid (default), without_replacement, shuffled_epochs or poisson", "LAW");
  flags.Text("--min-batch-size", typed_min_batch_size_, "Smallest batch (default 32)", "N");
  flags.Text("--max-batch-size", typed_max_batch_size_, "Largest batch (default: all rows, half of them if not iid)",
             "N");
  flags.Text("--max-count", typed_max_count_, "Most gradients of one request (default 1000000)", "M");
  flags.Text("--max-weights-norm", typed_max_weights_norm_, "Largest norm of weights (default 100)", "R");
  for (DefenceFlag& flag : defence_flags_) flags.Text(flag.name, flag.typed, flag.help, flag.placeholder);
  flags.Switch("--no-publish-defences", no_publish_defences_, "Callers are not told the defences' values");
}

absl::Status PolicyFlags::CheckDefences() {
  for (const DefenceFlag& flag : defence_flags_) {
    if (flag.typed.empty()) continue;
    const std::string field = absl::StrReplaceAll(std::string(flag.name).substr(2), {{"-", "_"}});
    if (flag.number != nullptr) GRADORACLE_RETURN_IF_ERROR(ParseNumber(flag.typed, field, flag.number->emplace()));
    if (flag.integer != nullptr) GRADORACLE_RETURN_IF_ERROR(ParseInteger(flag.typed, field, flag.integer->emplace()));
  }
  return absl::OkStatus();
}

absl::Status PolicyFlags::Check() {
  options_.standardise = !no_standardise_;
  options_.publish_defences = !no_publish_defences_;
  if (!typed_noise_rule_.empty()) {
    GRADORACLE_ASSIGN_OR_RETURN(options_.noise.rule, ParseNoiseRule(typed_noise_rule_));
  }
  GRADORACLE_RETURN_IF_ERROR(ParsePositive(typed_noise_scale_, "noise_scale", options_.noise.scale));
  if (!typed_noise_variance_.empty()) {
    GRADORACLE_RETURN_IF_ERROR(ParseNumber(typed_noise_variance_, "noise_variance", options_.noise.variance));
  }
  if (!typed_extra_.empty()) {
    for (const std::string& text : std::vector<std::string>(absl::StrSplit(typed_extra_, ','))) {
      GRADORACLE_RETURN_IF_ERROR(
          ParseNumber(text, "extra_noise_variances", options_.extra_noise_variances.emplace_back()));
    }
  }
  if (!typed_sampling_.empty()) {
    GRADORACLE_ASSIGN_OR_RETURN(options_.sampling, ParseSampling(typed_sampling_));
  }
  if (!typed_min_batch_size_.empty()) {
    GRADORACLE_RETURN_IF_ERROR(ParseInteger(typed_min_batch_size_, "min_batch_size", options_.min_batch_size));
  }
  if (!typed_max_batch_size_.empty()) {
    GRADORACLE_RETURN_IF_ERROR(
        ParseInteger(typed_max_batch_size_, "max_batch_size", options_.max_batch_size.emplace()));
  }
  if (!typed_max_count_.empty()) {
    GRADORACLE_RETURN_IF_ERROR(ParseInteger(typed_max_count_, "max_count", options_.max_count));
  }
  GRADORACLE_RETURN_IF_ERROR(ParsePositive(typed_max_weights_norm_, "max_weights_norm", options_.max_weights_norm));
  return CheckDefences();
}

bool PolicyFlags::has_policy() const {
  for (const std::string* typed :
       {&typed_noise_rule_, &typed_noise_scale_, &typed_noise_variance_, &typed_extra_, &typed_sampling_,
        &typed_min_batch_size_, &typed_max_batch_size_, &typed_max_count_, &typed_max_weights_norm_}) {
    if (!typed->empty()) return true;
  }
  for (const DefenceFlag& flag : defence_flags_) {
    if (!flag.typed.empty()) return true;
  }
  return options_.curvature_probe || no_publish_defences_;
}

std::vector<std::string> PolicyFlags::Words() const {
  std::vector<std::string> words;
  for (const auto& [flag, value] : std::initializer_list<std::pair<const char*, const std::string&>>{
           {"--data", options_.data_path},
           {"--target", options_.target},
           {"--scaling", options_.scaling_path},
           {"--noise-rule", typed_noise_rule_},
           {"--noise-scale", typed_noise_scale_},
           {"--noise-variance", typed_noise_variance_},
           {"--extra-noise-variances", typed_extra_},
           {"--sampling", typed_sampling_},
           {"--min-batch-size", typed_min_batch_size_},
           {"--max-batch-size", typed_max_batch_size_},
           {"--max-count", typed_max_count_},
           {"--max-weights-norm", typed_max_weights_norm_}}) {
    if (value.empty()) continue;
    words.emplace_back(flag);
    words.push_back(value);
  }
  for (const DefenceFlag& flag : defence_flags_) {
    if (flag.typed.empty()) continue;
    words.emplace_back(flag.name);
    words.push_back(flag.typed);
  }
  if (no_standardise_) words.emplace_back("--no-standardise");
  if (options_.curvature_probe) words.emplace_back("--curvature-probe");
  if (no_publish_defences_) words.emplace_back("--no-publish-defences");
  return words;
}

}  // namespace gradoracle
