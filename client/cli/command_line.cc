#include "client/cli/command_line.h"

#include <algorithm>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/cli/audit_command.h"
#include "client/cli/budget_command.h"
#include "client/cli/estimate_command.h"
#include "client/cli/info_command.h"
#include "client/cli/merge_command.h"
#include "client/cli/plan_command.h"
#include "client/cli/query_command.h"
#include "client/cli/report_command.h"
#include "client/cli/risk_command.h"
#include "client/cli/train_command.h"
#include "core/errors.h"
#include "core/version.h"

namespace gradoracle {
namespace {

// A verb's flags in CLI11.
class SubcommandFlags : public FlagSet {
 public:
  // Both must outlive the parsing. `later` takes the name of a flag of a later version that was given.
  SubcommandFlags(CLI::App& verb, std::string& later) : verb_(verb), later_(later) {}

  void Text(const std::string& names, std::string& value, const std::string& help,
            const std::string& placeholder) override {
    verb_.add_option(names, value, help)->option_text(placeholder);
  }
  void Texts(const std::string& names, std::vector<std::string>& values, const std::string& help,
             const std::string& placeholder) override {
    // One value for each flag: without this, CLI11 would also take the words that follow.
    verb_.add_option(names, values, help)
        ->option_text(placeholder)
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  }
  void Switch(const std::string& names, bool& value, const std::string& help) override {
    verb_.add_flag(names, value, help);
  }
  void Positionals(const std::string& name, std::vector<std::string>& values, const std::string& help) override {
    verb_.add_option(name, values, help);
  }
  void Later(const std::string& name) override {
    verb_.add_option_function<std::string>(name, [this, name](const std::string&) { later_ = name; })->group("");
  }
  void Footer(const std::string& text) override { verb_.footer(text); }

 private:
  CLI::App& verb_;
  std::string& later_;
};

absl::Status Usage(absl::string_view reason, absl::string_view field, absl::string_view message) {
  return InvalidField(reason, field, message);
}

// A verb that does not exist.
absl::Status CheckVerb(const std::vector<std::string>& words, const std::vector<std::unique_ptr<Command>>& commands) {
  if (words.empty() || words.front().empty() || words.front()[0] == '-') return absl::OkStatus();
  const std::string& verb = words.front();
  for (const std::unique_ptr<Command>& command : commands) {
    if (command->Name() == verb) return absl::OkStatus();
  }
  const std::string verbs =
      absl::StrJoin(commands, ", ", [](std::string* text, const auto& command) { *text += command->Name(); });
  return Usage("USAGE", "",
               absl::StrCat("`", verb, "` is not a verb; must be one of ", verbs, "; see gradoracle --help"));
}

}  // namespace

std::vector<std::unique_ptr<Command>> AllCommands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(std::make_unique<InfoCommand>());
  commands.push_back(std::make_unique<QueryCommand>());
  commands.push_back(std::make_unique<EstimateCommand>());
  commands.push_back(std::make_unique<PlanCommand>());
  commands.push_back(std::make_unique<MergeCommand>());
  commands.push_back(std::make_unique<TrainCommand>());
  commands.push_back(std::make_unique<RiskCommand>());
  commands.push_back(std::make_unique<AuditCommand>());
  commands.push_back(std::make_unique<BudgetCommand>());
  commands.push_back(std::make_unique<ReportCommand>());
  return commands;
}

absl::Status ParseCommandLine(const std::vector<std::string>& words, CommandLine& command_line) {
  command_line.json = std::find(words.begin(), words.end(), "--json") != words.end();
  std::vector<std::unique_ptr<Command>> commands = AllCommands();
  if (words.size() == 2 && words.back() == "--version") {  // of a verb: the program's
    command_line.text = "gradoracle " + VersionString() + "\n";
    return absl::OkStatus();
  }
  if (absl::Status verb = CheckVerb(words, commands); !verb.ok()) return verb;

  CLI::App app("Asks a gradient oracle for minibatch gradients and estimates the Hessian from them.", "gradoracle");
  app.set_version_flag("--version", "gradoracle " + VersionString());
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done; 1 failed; 2 usage; 3 refused by the oracle; 4 oracle unreachable; 5 a check you asked\n"
      "for did not hold; 130 after Ctrl-C or SIGTERM, with what was gathered written.\n\n"
      "Example:\n"
      "  gradoracle estimate --oracle 127.0.0.1:50051 --weights zeros --batch-size 256 --count 4096 --out hessian.npy");

  std::string later;
  std::vector<std::unique_ptr<SubcommandFlags>> flag_sets;
  for (const std::unique_ptr<Command>& command : commands) {
    CLI::App& verb = *app.add_subcommand(command->Name(), command->Description());
    flag_sets.push_back(std::make_unique<SubcommandFlags>(verb, later));
    command->AddFlags(*flag_sets.back());
  }
  try {
    std::vector<std::string> reversed(words.rbegin(), words.rend());  // as CLI11 wants them
    app.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    command_line.text = app.help();
    if (command_line.text.back() != '\n') command_line.text += "\n";  // a footer ends without one
    return absl::OkStatus();
  } catch (const CLI::CallForVersion& version) {
    command_line.text = absl::StrCat(version.what(), "\n");
    return absl::OkStatus();
  } catch (const CLI::ParseError& error) {  // CLI11's own exit codes are 100 and more
    return Usage("USAGE", "", absl::StrCat(error.what(), "; see gradoracle --help"));
  }
  if (!later.empty()) {
    return Usage("NOT_IN_THIS_VERSION", absl::StrReplaceAll(later.substr(2), {{"-", "_"}}),
                 absl::StrCat(later, " is not in this version (", VersionString(), ")"));
  }
  for (std::unique_ptr<Command>& command : commands) {
    if (!app.got_subcommand(command->Name())) continue;
    command_line.command = std::move(command);
    return command_line.command->Check();
  }
  return Usage("USAGE", "", "no verb given; see gradoracle --help");
}

}  // namespace gradoracle
