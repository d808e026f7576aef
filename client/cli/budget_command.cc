#include "client/cli/budget_command.h"

#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/audit/accounts.h"
#include "client/cli/flag_values.h"
#include "core/errors.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"

namespace gradoracle {
namespace {

nlohmann::ordered_json ToJson(const std::optional<int64_t>& number) {
  return number.has_value() ? nlohmann::ordered_json(*number) : nlohmann::ordered_json(nullptr);
}

std::string InWords(const std::optional<int64_t>& number) {
  return number.has_value() ? absl::StrCat(*number) : "unlimited";
}

// Counts worth a prediction: what is spent, and what may be spent.
std::vector<int64_t> Counts(const Budget& budget) {
  std::vector<int64_t> counts;
  if (budget.spent > 0) counts.push_back(budget.spent);
  if (budget.limit.has_value() && *budget.limit > budget.spent) counts.push_back(*budget.limit);
  return counts;
}

void PrintAssumptions(const nlohmann::json& account, std::ostream& out) {
  for (const nlohmann::json& sentence : account["assumptions"]) {
    out << "             assumed: " << sentence.get<std::string>() << "\n";
  }
}

void PrintAccountant(const nlohmann::json& account, std::ostream& out) {
  if (!account["applicable"].get<bool>()) {
    out << "curvature    no prediction: " << account["reason"].get<std::string>() << "\n";
    return;
  }
  for (const nlohmann::json& point : account["curve"]) {
    const nlohmann::json& interval = point["interval"];
    if (!interval[0].is_number() || !interval[1].is_number()) continue;
    out << absl::StrFormat("curvature    after %d gradients known to %.2g of its size or better (%.2g to %.2g)\n",
                           point["gradients"].get<int64_t>(), point["relative_error"].get<double>(),
                           interval[0].get<double>(), interval[1].get<double>());
  }
  PrintAssumptions(account, out);
}

void PrintLabelPrivacy(const nlohmann::json& account, std::ostream& out) {
  if (!account["applicable"].get<bool>()) {
    out << "labels       no epsilon: " << account["reason"].get<std::string>() << "\n";
    return;
  }
  for (const nlohmann::json& point : account["curve"]) {
    out << absl::StrFormat("labels       after %d gradients epsilon = %.3g at delta = %.2g\n",
                           point["gradients"].get<int64_t>(), point["epsilon"].get<double>(),
                           account["delta"].get<double>());
  }
  PrintAssumptions(account, out);
}

}  // namespace

std::string BudgetCommand::Description() const {
  return "How many gradients you may ask for, have asked for, and have left.";
}

void BudgetCommand::AddFlags(FlagSet& flags) {
  connection.AddTo(flags);
  flags.Switch("--leakage", leakage, "Also what the gradients spent, and those of the whole limit, tell of the data");
  flags.Text("--label-width", typed_label_width_,
             "With --leakage: width of the public range that every target lies in, in served units", "W");
  flags.Text("--privacy-delta", typed_privacy_delta_, "With --leakage: delta of epsilon (default 1e-5)", "D");
  flags.Footer(
      "The limit holds over all time, and null in JSON means that there is none.\n\n"
      "Example:\n  gradoracle budget --oracle 127.0.0.1:50051 --token-file alice.token --leakage");
}

absl::Status BudgetCommand::Check() {
  GRADORACLE_RETURN_IF_ERROR(connection.Check());
  if (!leakage && (!typed_label_width_.empty() || !typed_privacy_delta_.empty())) {
    return InvalidField("LEAKAGE_REQUIRED", "leakage", "--label-width and --privacy-delta go with --leakage");
  }
  if (!typed_label_width_.empty()) {
    GRADORACLE_RETURN_IF_ERROR(ParsePositive(typed_label_width_, "label_width", accounts_.label_width.emplace()));
  }
  GRADORACLE_RETURN_IF_ERROR(ParsePositive(typed_privacy_delta_, "privacy_delta", accounts_.privacy_delta));
  return CheckPrivacyDelta(accounts_.privacy_delta);
}

Outcome BudgetCommand::Run(Environment& environment) {
  absl::StatusOr<BudgetSource> source = environment.connect_for_budget(connection.oracle(), connection.settings());
  if (!source.ok()) return UsageError(source.status());
  const absl::StatusOr<Budget> budget = (*source)();
  if (!budget.ok()) return OracleError(budget.status());
  nlohmann::json accountant, label_privacy;
  if (leakage) {
    absl::StatusOr<std::unique_ptr<GradientSource>> oracle =
        environment.connect(connection.oracle(), connection.settings());
    if (!oracle.ok()) return UsageError(oracle.status());
    const absl::StatusOr<OracleInfo> info = (*oracle)->Info();
    if (!info.ok()) return OracleError(info.status());
    const std::vector<int64_t> counts = Counts(*budget);
    accountant = PublicAccountantJson(*info, counts);
    label_privacy = LabelPrivacyJson(*info, info->defence, accounts_, counts);
  }
  if (connection.json()) {
    nlohmann::ordered_json json = {{"limit", ToJson(budget->limit)},
                                   {"spent", budget->spent},
                                   {"remaining", ToJson(budget->remaining())},
                                   {"unit", Budget::kUnit}};
    if (leakage) json["accountant"] = std::move(accountant);
    if (leakage) json["label_privacy"] = std::move(label_privacy);
    environment.out << json.dump(2) << "\n";
    return {};
  }
  environment.out << "limit      " << InWords(budget->limit) << "\n"
                  << "spent      " << budget->spent << "\n"
                  << "remaining  " << InWords(budget->remaining()) << "\n"
                  << "in " << Budget::kUnit << ", over all time\n";
  if (leakage) {
    PrintAccountant(accountant, environment.out);
    PrintLabelPrivacy(label_privacy, environment.out);
  }
  return {};
}

}  // namespace gradoracle
