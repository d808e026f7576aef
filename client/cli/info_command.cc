#include "client/cli/info_command.h"

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"

namespace gradoracle {
namespace {

// Calls `see` with the name and value of every defence that is told.
void ForEachDefence(const DefencePolicy& policy, absl::FunctionRef<void(const char* name, double value)> see) {
  if (policy.clip_norm.has_value()) see("clip_norm", *policy.clip_norm);
  if (policy.gradient_noise_multiplier.has_value()) {
    see("gradient_noise_multiplier", *policy.gradient_noise_multiplier);
  }
  if (policy.mask_variance.has_value()) see("mask_variance", *policy.mask_variance);
  if (policy.weights_grid.has_value()) see("weights_grid", *policy.weights_grid);
  if (policy.max_participation.has_value()) see("max_participation", static_cast<double>(*policy.max_participation));
  if (policy.reply_grid.has_value()) see("reply_grid", *policy.reply_grid);
}

nlohmann::ordered_json ToJson(const OracleInfo& info) {
  nlohmann::ordered_json noise = {{"rule", std::string(NoiseRuleName(info.noise.rule))}};
  if (info.noise.scale.has_value()) noise["scale"] = *info.noise.scale;
  if (info.noise.injected_variance.has_value()) noise["injected_variance"] = *info.noise.injected_variance;
  noise["extra"] = info.noise.extra_variances;
  noise["curvature_probe"] = info.noise.curvature_probe;
  if (info.noise.isotropic) noise["isotropic"] = true;
  nlohmann::ordered_json defence = nlohmann::ordered_json::object();
  ForEachDefence(info.defence, [&](const char* name, double value) { defence[name] = value; });
  nlohmann::ordered_json json = {{"dimension", info.dimension},
                                 {"row_count", info.row_count},
                                 {"scaling", info.scaling},
                                 {"loss", info.loss},
                                 {"noise", noise},
                                 {"sampling", std::string(SamplingName(info.sampling))},
                                 {"limits",
                                  {{"min_batch_size", info.limits.min_batch_size},
                                   {"max_batch_size", info.limits.max_batch_size},
                                   {"max_count", info.limits.max_count},
                                   {"max_weights_norm", info.limits.max_weights_norm}}},
                                 {"dataset_version", info.dataset_version}};
  if (!defence.empty()) json["defence"] = defence;
  if (!info.feature_names.empty()) json["feature_names"] = info.feature_names;
  json["version"] = info.version;
  return json;
}

std::string NoiseInWords(const NoiseInfo& noise) {
  std::string words(NoiseRuleName(noise.rule));
  switch (noise.rule) {
    case NoiseRule::kCalibrated:
      words += ": total variance = batch size";
      break;
    case NoiseRule::kScaled:
      absl::StrAppend(&words, ": total variance = ", noise.scale.value_or(0), " * batch size");
      break;
    case NoiseRule::kFixed:
      absl::StrAppend(&words, ": injected variance ", noise.injected_variance.value_or(0), ", plus the residual's");
      break;
    case NoiseRule::kNone:
      words += ": nothing injected";
      break;
  }
  if (!noise.extra_variances.empty()) {
    absl::StrAppend(&words, "; total variance on request: ", absl::StrJoin(noise.extra_variances, ", "));
  }
  if (noise.isotropic) words = "isotropic, on the gradients: their covariance is not the hessian";
  if (noise.curvature_probe) words += "; curvature probe on request";
  return words;
}

std::string ToText(const OracleInfo& info, const std::string& target) {
  std::string text;
  absl::StrAppendFormat(&text, "oracle           %s, version %s\n", target, info.version);
  absl::StrAppendFormat(&text, "data set         %d rows, dimension %d, version %s\n", info.row_count, info.dimension,
                        info.dataset_version);
  absl::StrAppendFormat(&text, "units            %s\n", info.scaling);
  absl::StrAppendFormat(&text, "loss             %s\n", info.loss);
  absl::StrAppendFormat(&text, "noise            %s\n", NoiseInWords(info.noise));
  ForEachDefence(info.defence, [&](const char* name, double value) {
    absl::StrAppendFormat(&text, "defence          %s %g\n", name, value);
  });
  absl::StrAppendFormat(&text, "sampling         %s\n", std::string(SamplingName(info.sampling)));
  absl::StrAppendFormat(&text, "batch size       %d to %d\n", info.limits.min_batch_size, info.limits.max_batch_size);
  absl::StrAppendFormat(&text, "count            up to %d a request\n", info.limits.max_count);
  absl::StrAppendFormat(&text, "weights          norm up to %g\n", info.limits.max_weights_norm);
  if (!info.feature_names.empty()) {
    absl::StrAppendFormat(&text, "features         %s\n", absl::StrJoin(info.feature_names, ", "));
  }
  return text;
}

}  // namespace

std::string InfoCommand::Description() const {
  return "What the oracle says about itself: shapes, units, noise, limits.";
}

void InfoCommand::AddFlags(FlagSet& flags) {
  connection.AddTo(flags);
  flags.Footer("Example:\n  gradoracle info --oracle 127.0.0.1:50051 --json");
}

Outcome InfoCommand::Run(Environment& environment) {
  absl::StatusOr<std::unique_ptr<GradientSource>> source =
      environment.connect(connection.oracle(), connection.settings());
  if (!source.ok()) return UsageError(source.status());
  const absl::StatusOr<OracleInfo> info = (*source)->Info();
  if (!info.ok()) return OracleError(info.status());
  if (connection.json()) {
    environment.out << ToJson(*info).dump(2) << "\n";
  } else {
    environment.out << ToText(*info, connection.oracle());
  }
  return {};
}

}  // namespace gradoracle
