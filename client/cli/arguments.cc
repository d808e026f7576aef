#include "client/cli/arguments.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "core/version.h"

namespace gradoracle {
namespace {

// Values as they were typed. CLI11 2.1.2 turns an integer out of range into INT64_MAX without a word, so that numbers
// are parsed here.
struct Typed {
  bool json = false;
  std::string oracle, deadline, weights, batch_size, count, out, gradients_out, from, level, total_noise_variance;
  std::string estimator = "covariance";
  std::string later;  // any flag of a later version
};

constexpr const char* kLaterVerbs[] = {"plan", "train", "risk", "audit", "report", "budget"};
constexpr const char* kLaterConnectionFlags[] = {"--token-file", "--tls-ca", "--tls-cert", "--tls-key"};

void AddOracleOptions(CLI::App& verb, Typed& typed);
void AddQueryOptions(CLI::App& verb, Typed& typed, const std::string& optional_with_from);
void AddLaterFlag(CLI::App& verb, const std::string& flag, Typed& typed);
absl::Status Convert(const Typed& typed, Arguments& arguments);
absl::Status CheckAddress(const std::string& oracle);
absl::Status CheckDifferentFiles(const std::vector<std::pair<std::string, std::string>>& files);
absl::Status Require(const std::string& value, absl::string_view field, absl::string_view flag);
absl::Status ParseInteger(const std::string& text, absl::string_view field, int64_t& value);
absl::Status ParseNumber(const std::string& text, absl::string_view field, double& value);
absl::Status Usage(absl::string_view reason, absl::string_view field, absl::string_view message);

}  // namespace

absl::Status ParseCommandLine(const std::vector<std::string>& words, CommandLine& command_line) {
  Typed typed;
  // Known even if parsing fails half-way: the caller of --json wants its errors as JSON too.
  command_line.arguments.json = std::find(words.begin(), words.end(), "--json") != words.end();

  CLI::App app("Asks a gradient oracle for minibatch gradients and estimates the Hessian from them.", "gradoracle");
  app.set_version_flag("--version", "gradoracle " + VersionString());
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done; 1 failed; 2 usage; 3 refused by the oracle; 4 oracle unreachable; 130 after Ctrl-C, with "
      "what\n"
      "was gathered written.\n\n"
      "Example:\n"
      "  gradoracle estimate --oracle 127.0.0.1:50051 --weights zeros --batch-size 256 --count 4096 --out hessian.npy");

  CLI::App& info = *app.add_subcommand("info", "What the oracle says about itself: shapes, units, noise, limits.");
  AddOracleOptions(info, typed);
  info.footer("Example:\n  gradoracle info --oracle 127.0.0.1:50051 --json");

  CLI::App& query =
      *app.add_subcommand("query", "Fetches minibatch gradients into a .npy of shape (count, dimension).");
  AddOracleOptions(query, typed);
  AddQueryOptions(query, typed, "");
  query.add_option("--out", typed.out, "Where to write the gradients (.npy, float64)")->option_text("FILE.npy");
  query.footer(
      "Ctrl-C keeps the gradients that have arrived.\n\nExample:\n"
      "  gradoracle query --oracle 127.0.0.1:50051 --weights zeros --batch-size 256 --count 1000 --out gradients.npy");

  CLI::App& estimate =
      *app.add_subcommand("estimate", "Estimates the Hessian from minibatch gradients, with a limit on its own error.");
  AddOracleOptions(estimate, typed);
  AddQueryOptions(estimate, typed, " (with --from: as recorded)");
  estimate.add_option("--out", typed.out, "Where to write the Hessian (.npy, float64, dimension x dimension)")
      ->option_text("FILE.npy");
  estimate.add_option("--gradients-out", typed.gradients_out, "Also record the gradients")->option_text("FILE.npy");
  estimate.add_option("--from", typed.from, "Take gradients recorded earlier instead of asking an oracle")
      ->option_text("FILE.npy");
  estimate.add_option("--estimator", typed.estimator, "covariance: batch_size * Cov(gradients) / total noise variance")
      ->option_text("NAME");
  estimate.add_option("--level", typed.level, "Confidence of the error limit, above 0.5 and below 1 (default 0.95)")
      ->option_text("P");
  estimate
      .add_option(
          "--total-noise-variance", typed.total_noise_variance,
          "Variance of the target noise, the residual's included. The oracle tells it for its rules `calibrated`\n"
          "and `scaled`; needed for `fixed`, `none` and --from. One of the oracle's extra variances is asked for")
      ->option_text("V");
  AddLaterFlag(estimate, "--target-error", typed);
  AddLaterFlag(estimate, "--state", typed);
  estimate.footer(
      "Ctrl-C writes the estimate from the gradients that have arrived.\n\nExamples:\n"
      "  gradoracle estimate --oracle 127.0.0.1:50051 --weights zeros --batch-size 256 --count 4096 --out hessian.npy\n"
      "  gradoracle estimate --from gradients.npy --batch-size 256 --total-noise-variance 256 --out hessian.npy");

  if (!words.empty()) {
    for (const char* later : kLaterVerbs) {
      if (words.front() != later) continue;
      return Usage("NOT_IN_THIS_VERSION", "",
                   absl::StrCat("`", later, "` is not in this version (", VersionString(),
                                "), which has the verbs info, query, estimate"));
    }
  }
  try {
    std::vector<std::string> reversed(words.rbegin(), words.rend());  // as CLI11 wants them
    app.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    command_line.text = app.help();
    return absl::OkStatus();
  } catch (const CLI::CallForVersion& version) {
    command_line.text = absl::StrCat(version.what(), "\n");
    return absl::OkStatus();
  } catch (const CLI::ParseError& error) {  // CLI11's own exit codes are 100 and more
    return Usage("USAGE", "", absl::StrCat(error.what(), "; see gradoracle --help"));
  }
  Arguments& arguments = command_line.arguments;
  arguments.verb = query.parsed() ? Verb::kQuery : estimate.parsed() ? Verb::kEstimate : Verb::kInfo;
  return Convert(typed, arguments);
}

namespace {

void AddOracleOptions(CLI::App& verb, Typed& typed) {
  verb.add_option("--oracle", typed.oracle, "Address of the oracle (default: GRADORACLE_ORACLE)")
      ->option_text("HOST:PORT");
  verb.add_option("--deadline", typed.deadline,
                  "Seconds, or 500ms, 2m: longest wait for a unary call (default 30); a\n"
                  "stream may take as long as gradients arrive, and counts as broken after 60 s without any")
      ->option_text("TIME");
  verb.add_flag("--json", typed.json, "Print one JSON object and nothing else");
  for (const char* flag : kLaterConnectionFlags) AddLaterFlag(verb, flag, typed);
}

void AddQueryOptions(CLI::App& verb, Typed& typed, const std::string& optional_with_from) {
  verb.add_option("--weights,--at", typed.weights, "Point of evaluation" + optional_with_from)
      ->option_text("FILE.npy|zeros");
  verb.add_option("--batch-size", typed.batch_size, "Rows per gradient")->option_text("N");
  verb.add_option("--count,--gradients", typed.count,
                  optional_with_from.empty() ? "Number of gradients" : "Number of gradients (with --from: default all)")
      ->option_text("M");
}

// Parsed, so that it can be refused by name; not in the help.
void AddLaterFlag(CLI::App& verb, const std::string& flag, Typed& typed) {
  verb.add_option_function<std::string>(flag, [&typed, flag](const std::string&) { typed.later = flag; })->group("");
}

absl::Status Convert(const Typed& typed, Arguments& arguments) {
  if (!typed.later.empty()) {
    return Usage("NOT_IN_THIS_VERSION", absl::StrReplaceAll(typed.later.substr(2), {{"-", "_"}}),
                 absl::StrCat(typed.later, " is not in this version (", VersionString(), ")"));
  }
  if (typed.estimator != "covariance") {
    return Usage("ESTIMATOR_UNKNOWN", "estimator",
                 absl::StrCat("estimator is '", typed.estimator, "', but this version (", VersionString(),
                              ") has only 'covariance'"));
  }
  arguments.oracle = typed.oracle;
  // Not by CLI11: it applies a variable once for every verb that has the flag, also over the flag of the verb given.
  const char* environment = std::getenv("GRADORACLE_ORACLE");
  if (arguments.oracle.empty() && environment != nullptr) arguments.oracle = environment;
  arguments.weights = typed.weights;
  arguments.out = typed.out;
  arguments.gradients_out = typed.gradients_out;
  arguments.from = typed.from;
  if (arguments.from.empty()) {
    GRADORACLE_RETURN_IF_ERROR(Require(arguments.oracle, "oracle", "--oracle HOST:PORT (or GRADORACLE_ORACLE)"));
    GRADORACLE_RETURN_IF_ERROR(CheckAddress(arguments.oracle));
  }
  if (!typed.deadline.empty()) {
    double seconds = 0;
    const bool plain = absl::SimpleAtod(typed.deadline, &seconds);
    if (plain) arguments.deadline = absl::Seconds(seconds);
    if ((!plain && !absl::ParseDuration(typed.deadline, &arguments.deadline)) || std::isnan(seconds) ||
        arguments.deadline <= absl::ZeroDuration() || arguments.deadline == absl::InfiniteDuration()) {
      return Usage(
          "DEADLINE_INVALID", "deadline",
          absl::StrCat("deadline is '", typed.deadline, "', but must be a positive number of seconds, or like 2m"));
    }
  }
  if (arguments.verb == Verb::kInfo) return absl::OkStatus();

  GRADORACLE_RETURN_IF_ERROR(Require(typed.batch_size, "batch_size", "--batch-size N"));
  GRADORACLE_RETURN_IF_ERROR(ParseInteger(typed.batch_size, "batch_size", arguments.batch_size));
  if (arguments.from.empty()) {
    GRADORACLE_RETURN_IF_ERROR(Require(typed.weights, "weights", "--weights FILE.npy (or zeros)"));
    GRADORACLE_RETURN_IF_ERROR(Require(typed.count, "count", "--count M"));
  }
  if (!typed.count.empty()) {
    GRADORACLE_RETURN_IF_ERROR(ParseInteger(typed.count, "count", arguments.count.emplace()));
  }
  if (arguments.verb == Verb::kQuery) return Require(typed.out, "out", "--out FILE.npy");

  if (arguments.count == 1) {
    return Usage("TOO_FEW_GRADIENTS", "count", "count is 1, but a covariance needs at least 2 gradients");
  }
  GRADORACLE_RETURN_IF_ERROR(CheckDifferentFiles(
      {{"out", arguments.out}, {"gradients_out", arguments.gradients_out}, {"from", arguments.from}}));
  if (!typed.level.empty()) GRADORACLE_RETURN_IF_ERROR(ParseNumber(typed.level, "level", arguments.level));
  if (!(arguments.level > 0.5 && arguments.level < 1)) {
    return Usage("LEVEL_OUT_OF_RANGE", "level",
                 absl::StrCat("level is ", arguments.level, ", but must be above 0.5 and below 1"));
  }
  if (!typed.total_noise_variance.empty()) {
    double& variance = arguments.total_noise_variance.emplace();
    GRADORACLE_RETURN_IF_ERROR(ParseNumber(typed.total_noise_variance, "total_noise_variance", variance));
    if (variance <= 0) {
      return Usage("TOTAL_NOISE_VARIANCE_NOT_POSITIVE", "total_noise_variance",
                   absl::StrCat("total_noise_variance is ", variance, ", but must be positive"));
    }
  }
  return absl::OkStatus();
}

// gRPC takes nearly anything for an address: a port of 99999 wraps around to another one, a missing one means 443.
absl::Status CheckAddress(const std::string& oracle) {
  const size_t colon = oracle.rfind(':');
  int port = 0;
  if (colon != std::string::npos && colon > 0 && oracle.find('/') == std::string::npos &&
      absl::SimpleAtoi(oracle.substr(colon + 1), &port) && port >= 1 && port <= 65535) {
    return absl::OkStatus();
  }
  return Usage("ORACLE_ADDRESS", "oracle",
               absl::StrCat("oracle is '", oracle, "', but must be HOST:PORT with a port from 1 to 65535"));
}

// No file is written over another of the same command, under whatever name.
absl::Status CheckDifferentFiles(const std::vector<std::pair<std::string, std::string>>& files) {
  for (size_t second = 0; second < files.size(); ++second) {
    for (size_t first = 0; first < second; ++first) {
      if (files[first].second.empty() || files[second].second.empty()) continue;
      const auto resolved = [](const std::string& path) {
        std::error_code ignored;
        return std::filesystem::weakly_canonical(std::filesystem::absolute(path, ignored), ignored);
      };
      if (resolved(files[first].second) != resolved(files[second].second)) continue;
      return Usage("SAME_FILE", files[second].first,
                   absl::StrCat(files[second].first, " is '", files[second].second, "', the same file as ",
                                files[first].first, "; give another name"));
    }
  }
  return absl::OkStatus();
}

absl::Status Require(const std::string& value, absl::string_view field, absl::string_view flag) {
  if (!value.empty()) return absl::OkStatus();
  return Usage("MISSING", field, absl::StrCat(field, " is missing: give ", flag));
}

absl::Status ParseInteger(const std::string& text, absl::string_view field, int64_t& value) {
  if (absl::SimpleAtoi(text, &value)) return absl::OkStatus();
  return Usage("NOT_AN_INTEGER", field,
               absl::StrCat(field, " is '", text, "', but must be a whole number no larger than ",
                            std::numeric_limits<int64_t>::max()));
}

absl::Status ParseNumber(const std::string& text, absl::string_view field, double& value) {
  if (absl::SimpleAtod(text, &value) && std::isfinite(value)) return absl::OkStatus();
  return Usage("NOT_A_NUMBER", field, absl::StrCat(field, " is '", text, "', but must be a finite number"));
}

absl::Status Usage(absl::string_view reason, absl::string_view field, absl::string_view message) {
  return InvalidField(reason, field, message);
}

}  // namespace
}  // namespace gradoracle
