#include "client/cli/info_command.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"

namespace gradoracle {
namespace {

nlohmann::ordered_json ToJson(const OracleInfo& info) {
  nlohmann::ordered_json noise = {{"rule", std::string(NoiseRuleName(info.noise.rule))}};
  if (info.noise.scale.has_value()) noise["scale"] = *info.noise.scale;
  if (info.noise.injected_variance.has_value()) noise["injected_variance"] = *info.noise.injected_variance;
  noise["extra"] = info.noise.extra_variances;
  noise["curvature_probe"] = info.noise.curvature_probe;
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
      environment.connect(connection.oracle(), connection.deadline());
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
