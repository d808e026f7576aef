#include "client/cli/audit_command.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/audit/task_runner.h"
#include "client/cli/flag_values.h"
#include "client/cli/traced_source.h"
#include "client/report/audit_report.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"

namespace gradoracle {
namespace {

constexpr double kSimulationSeconds = 150;  // an audit of the bundled data takes less than 3 minutes
constexpr const char* kEraseLine = "\r\x1b[K";

absl::Status ParseIfGiven(const std::string& text, absl::string_view field, int64_t& value) {
  return text.empty() ? absl::OkStatus() : ParseInteger(text, field, value);
}

std::string ProgressText(const TaskProgress& progress) {
  std::string text = absl::StrFormat("%d of %d runs, %.0f%%", progress.done, progress.total, 100 * progress.share);
  if (progress.left.has_value()) {
    absl::StrAppend(&text, absl::StrFormat(", %.0f s left", absl::ToDoubleSeconds(*progress.left)));
  }
  return text;
}

std::string Quote(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || std::strchr("-_./:,=+@", c) != nullptr;
  });
  if (plain) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

// Two digits: "0.42%", "1.5%", "120%".
std::string Percent(double share) {
  const double percent = 100 * share;
  return percent >= 9.95 ? absl::StrFormat("%.0f%%", percent) : absl::StrFormat("%.2g%%", percent);
}

std::string PercentInterval(const nlohmann::json& interval) {
  if (!interval[0].is_number() || !interval[1].is_number()) return "";
  return absl::StrCat(Percent(interval[0].get<double>()), " to ", Percent(interval[1].get<double>()));
}

std::string Text(const nlohmann::json& report, const std::string& path) {
  std::string text = absl::StrCat(report["verdict"].get<std::string>(),
                                  report["complete"].get<bool>() ? "" : "\n(Unfinished: the same command goes on.)",
                                  "\n\n  gradients    error   predicted           attack\n");
  for (size_t index = 0; index < report["strongest"].size(); ++index) {
    const nlohmann::json& point = report["strongest"][index];
    if (!point["relative_error"].is_number()) continue;
    const std::string predicted =
        report["accountant"].is_null() ? "" : PercentInterval(report["accountant"]["curve"][index]["interval"]);
    absl::StrAppend(&text, absl::StrFormat("%11d  %7s   %-18s  %s\n", point["gradients"].get<int64_t>(),
                                           Percent(point["relative_error"].get<double>()), predicted,
                                           point["attack"].get<std::string>()));
  }
  absl::StrAppend(&text, "\n");
  if (!report["accountant"].is_null()) {
    absl::StrAppend(&text, report["accountant"]["agreement"].get<std::string>(), "\n\n");
  }
  for (const auto& [name, finding] : report["findings"].items()) {
    const std::string mark = finding["found"].is_null() ? "not tested" : finding["found"].get<bool>() ? "FOUND" : "no";
    absl::StrAppend(
        &text, absl::StrFormat("%-19s %-10s %s\n", name, mark, finding["evidence"]["sentence"].get<std::string>()));
  }
  absl::StrAppend(&text, "\n", report["recommendation"]["sentence"].get<std::string>(), "\n", path, "\n");
  return text;
}

}  // namespace

std::string AuditCommand::Description() const { return "Measure what an oracle gives away, by attacking it"; }

void AuditCommand::AddFlags(FlagSet& flags) {
  connection.AddTo(flags);
  policy.AddTo(flags);
  flags.Text("--from", from, "Gradients recorded earlier (query --out), instead of an oracle", "G.npy");
  flags.Text("--batch-size", typed_batch_size_, "Rows in each gradient (default 256)", "N");
  flags.Text("--budget", typed_budget_, "Gradients that an attack may ask for (default 10000)", "M");
  flags.Text("--repetitions", typed_repetitions_,
             "Runs of each attack, for medians and intervals (default 20; 1 where an oracle is asked)", "R");
  flags.Text("--seconds", typed_seconds_,
             "Report what there is after that time; the same command again goes on (default:\n150 for a simulation, no "
             "limit otherwise)",
             "S");
  flags.Text("--seed", typed_seed_, "Of the simulation and of what attackers draw (default 1)", "K");
  flags.Text("--threads", typed_threads_, "Of the simulation (default: all processors); results do not depend on it",
             "T");
  flags.Text("--total-noise-variance", typed_total_noise_variance_,
             "Variance of the target noise of recorded gradients, or what attackers believe of rules fixed, none", "V");
  flags.Text("--label-width", typed_label_width_,
             "Width of the public range that every target lies in, in served units: for the epsilon of a label", "W");
  flags.Text("--privacy-delta", typed_privacy_delta_, "Delta of every epsilon (default 1e-5)", "D");
  flags.Text("--recommend-error", typed_recommend_,
             "The recommended budget keeps the strongest attack above this error (default 0.5)", "E");
  flags.Text("--fail-if-error-below", typed_fail_,
             "Exit 5 when the strongest attack gets below this error within the budget", "E");
  flags.Text("--out", out, "Folder for report.html, report.json and the audit's state, made if need be", "DIR");
  flags.Footer(
      "Give --data for a simulation with the policy's flags; --oracle to ask a running oracle, with --data for the\n"
      "truth; or --from. The same command again goes on where an interrupted one stopped.\n\nExample:\n"
      "  gradoracle audit --data house.csv --batch-size 256 --budget 10000 --out audit");
}

absl::Status AuditCommand::Check() {
  // GRADORACLE_ORACLE alone does not turn a simulation into an attack on a running oracle.
  asks_oracle_ = from.empty() && (connection.typed() || !policy.has_data());
  if (!from.empty() && connection.typed()) {
    return InvalidField("SOURCE_CONFLICT", "from", "--from and --oracle: give one of them");
  }
  if (asks_oracle_) GRADORACLE_RETURN_IF_ERROR(connection.Check());
  GRADORACLE_RETURN_IF_ERROR(policy.Check());
  if ((asks_oracle_ || !from.empty()) && policy.has_policy()) {
    return InvalidField(
        "SOURCE_CONFLICT", asks_oracle_ ? "oracle" : "from",
        "the policy of a running oracle, or of a recording, is not yours to choose: leave its flags out, "
        "or leave --oracle and --from out for a simulation");
  }
  GRADORACLE_RETURN_IF_ERROR(ParseIfGiven(typed_batch_size_, "batch_size", options.batch_size));
  GRADORACLE_RETURN_IF_ERROR(ParseIfGiven(typed_budget_, "budget", options.budget));
  GRADORACLE_RETURN_IF_ERROR(ParseIfGiven(typed_repetitions_, "repetitions", options.repetitions));
  int64_t seed = 1;
  GRADORACLE_RETURN_IF_ERROR(ParseIfGiven(typed_seed_, "seed", seed));
  options.seed = static_cast<uint64_t>(seed);
  int64_t threads = std::max<int64_t>(1, std::thread::hardware_concurrency());
  GRADORACLE_RETURN_IF_ERROR(ParseIfGiven(typed_threads_, "threads", threads));
  if (threads < 1 || threads > 1024) {
    return InvalidField("THREADS_OUT_OF_RANGE", "threads",
                        absl::StrCat("threads is ", threads, ", but must be 1 to 1024"));
  }
  options.threads = static_cast<int>(threads);
  double seconds = 0;
  GRADORACLE_RETURN_IF_ERROR(ParsePositive(typed_seconds_, "seconds", seconds));
  if (seconds == 0 && !asks_oracle_ && from.empty()) seconds = kSimulationSeconds;
  if (seconds > 0) options.longest = absl::Seconds(seconds);
  if (!typed_total_noise_variance_.empty()) {
    GRADORACLE_RETURN_IF_ERROR(
        ParsePositive(typed_total_noise_variance_, "total_noise_variance", options.total_noise_variance.emplace()));
  }
  if (!typed_label_width_.empty()) {
    GRADORACLE_RETURN_IF_ERROR(ParsePositive(typed_label_width_, "label_width", options.label_width.emplace()));
  }
  GRADORACLE_RETURN_IF_ERROR(ParsePositive(typed_privacy_delta_, "privacy_delta", options.privacy_delta));
  options.curvature_floor = policy.curvature_floor();
  GRADORACLE_RETURN_IF_ERROR(ParsePositive(typed_recommend_, "recommend_error", options.recommended_error));
  if (!typed_fail_.empty()) {
    GRADORACLE_RETURN_IF_ERROR(ParsePositive(typed_fail_, "fail_if_error_below", fail_if_error_below.emplace()));
  }
  if (!from.empty() && !typed_total_noise_variance_.empty()) return RequireValue(out, "out", "--out DIR");
  if (!from.empty()) {
    return RequireValue("", "total_noise_variance", "--total-noise-variance V: a recording does not tell its noise");
  }
  return RequireValue(out, "out", "--out DIR");
}

std::vector<std::string> AuditCommand::Words() const {
  std::vector<std::string> words = {"gradoracle", "audit"};
  const auto add = [&](const char* flag, const std::string& value) {
    if (value.empty()) return;
    words.emplace_back(flag);
    words.push_back(value);
  };
  if (asks_oracle_) add("--oracle", connection.oracle());
  add("--from", from);
  for (const std::string& word : policy.Words()) words.push_back(word);
  add("--batch-size", absl::StrCat(options.batch_size));
  add("--budget", absl::StrCat(options.budget));
  add("--repetitions", absl::StrCat(options.repetitions));
  add("--seed", absl::StrCat(options.seed));
  add("--seconds", typed_seconds_);
  add("--total-noise-variance", typed_total_noise_variance_);
  add("--label-width", typed_label_width_);
  add("--privacy-delta", typed_privacy_delta_);
  add("--recommend-error", typed_recommend_);
  add("--fail-if-error-below", typed_fail_);
  add("--out", out);
  return words;
}

absl::StatusOr<AuditOutcome> AuditCommand::RunAudit(Environment& environment, ErrorOrigin& origin) {
  const OracleOptions* data = policy.has_data() ? &policy.options() : nullptr;
  origin = ErrorOrigin::kUsage;
  if (!from.empty()) return AuditRecording(from, data, options);
  if (!asks_oracle_) return AuditSimulation(policy.options(), options);
  absl::StatusOr<std::unique_ptr<GradientSource>> connected =
      environment.connect(connection.oracle(), connection.settings());
  if (!connected.ok()) return connected.status();
  TracedSource source(*std::move(connected));
  absl::StatusOr<AuditOutcome> outcome = AuditOracle(source, data, options);
  if (!outcome.ok()) origin = source.OriginOf(outcome.status());
  return outcome;
}

Outcome AuditCommand::Run(Environment& environment) {
  std::error_code made;
  std::filesystem::create_directories(out, made);
  if (made) {
    return UsageError(InvalidField("OUT_UNWRITABLE", "out", absl::StrCat(out, ": cannot be made: ", made.message())));
  }
  const std::string path = (std::filesystem::path(out) / "report.html").string();
  options.state_path = (std::filesystem::path(out) / "audit.state.json").string();
  options.interrupted = &environment.interrupted;
  if (asks_oracle_ && typed_repetitions_.empty()) options.repetitions = 1;
  bool shown = false;
  if (environment.progress) {
    options.progress = [&](const TaskProgress& progress) {
      environment.err << absl::StrCat(kEraseLine, ProgressText(progress)) << std::flush;
      shown = true;
    };
  }
  const absl::Time start = absl::Now();
  ErrorOrigin origin = ErrorOrigin::kUsage;
  absl::StatusOr<AuditOutcome> outcome = RunAudit(environment, origin);
  if (shown) environment.err << kEraseLine << std::flush;
  if (!outcome.ok()) return {outcome.status(), origin, environment.interrupted.load()};

  nlohmann::json& report = outcome->report;
  report["created"] = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", start, absl::UTCTimeZone());
  report["seconds"] = absl::ToDoubleSeconds(absl::Now() - start);
  report["command"] = Words();
  report["reproduce"] = {absl::StrJoin(
      Words(), " ", [](std::string* text, const std::string& word) { absl::StrAppend(text, Quote(word)); })};
  if (absl::Status written = WriteAuditReport(report, out); !written.ok()) return UsageError(written);
  if (connection.json()) {
    environment.out << report.dump(2) << "\n";
  } else {
    environment.out << Text(report, path);
  }
  Outcome result;
  result.interrupted = outcome->interrupted;
  if (fail_if_error_below.has_value() && outcome->strongest_error.has_value() &&
      *outcome->strongest_error < *fail_if_error_below) {
    result.status =
        MakeError(absl::StatusCode::kFailedPrecondition, "AUDIT_CHECK_FAILED", "fail_if_error_below",
                  absl::StrFormat("the strongest attack reaches an error of %.4g within %d gradients, below "
                                  "--fail-if-error-below %.4g",
                                  *outcome->strongest_error, options.budget, *fail_if_error_below));
    result.origin = ErrorOrigin::kCheck;
    result.reported = true;
  } else if (fail_if_error_below.has_value() && (!outcome->strongest_error.has_value() || !outcome->untried.empty())) {
    result.status = MakeError(
        absl::StatusCode::kFailedPrecondition, "AUDIT_CHECK_UNDECIDED", "fail_if_error_below",
        outcome->untried.empty()
            ? "--fail-if-error-below is not decided: errors are not known without the owner's data; add --data"
            : absl::StrCat("--fail-if-error-below is not decided: there is no result of ",
                           absl::StrJoin(outcome->untried, ", "), "; run the same command again, with more --seconds"));
    result.origin = ErrorOrigin::kRun;
    result.reported = true;
  }
  return result;
}

}  // namespace gradoracle
