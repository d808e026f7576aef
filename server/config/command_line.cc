#include "server/config/command_line.h"

#include <memory>
#include <set>
#include <sstream>
#include <vector>

#include "CLI/CLI.hpp"
#include "Eigen/Core"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/errors.h"
#include "core/version.h"
#include "google/protobuf/stubs/common.h"
#include "grpcpp/grpcpp.h"
#include "server/config/settings.h"

// CLI11 only splits the command line here. Types, ranges, environment and the configuration file are ours: CLI11 2.1.2
// turns integers out of range into INT64_MAX, lets its configuration file beat the environment and exits with codes of
// 100 and up.
namespace gradoracle {
namespace {

constexpr char kDescription[] =
    "Serves minibatch gradients of a private regression data set, and nothing else of it.\n"
    "Every flag is also GRADORACLE_<FLAG> in the environment and a key (underscores) of --config FILE.toml:\n"
    "flag > environment > file > default. All verbs take the same settings, so that what is served can be inspected.";

constexpr char kExitCodes[] =
    "Exit codes: 0 done; 1 failed (port taken, a file cannot be written, not healthy); 2 usage or configuration error, "
    "the data file included.";

constexpr char kExamples[] =
    "Examples:\n"
    "  gradoracle-server --data house.csv                         serve on 127.0.0.1:50051\n"
    "  gradoracle-server serve --data house.csv.gz --target price --listen 127.0.0.1:0 --port-file port\n"
    "  gradoracle-server token create --ledger sqlite:ledger.db --principal alice --limit 10000 --out alice.token\n"
    "  gradoracle-server --data house.csv --listen 0.0.0.0:50051 --auth tokens --ledger sqlite:ledger.db "
    "--tls-cert server.pem --tls-key server.key\n"
    "  gradoracle-server inspect --data house.csv --compare hessian.npy\n"
    "  gradoracle-server healthcheck --listen 0.0.0.0:50051\n"
    "  gradoracle-server check-config --config server.toml\n";

constexpr char kInspectExamples[] =
    "Example:\n"
    "  gradoracle-server inspect --data house.csv --hessian-out hessian.npy --scaling-out scaling.json\n"
    "Prints JSON: row_count, dimension, residual_variance, rank, eigenvalues, effective_rank,\n"
    "smallest_calibrated_batch_size, warnings; with --compare also relative_error. For the owner's eyes only.\n";

constexpr char kHealthcheckExamples[] =
    "Example:\n"
    "  GRADORACLE_LISTEN=0.0.0.0:50051 gradoracle-server healthcheck\n"
    "Asks grpc.health.v1 where serve would listen with the same settings (loopback for a wildcard host; the address "
    "in\n"
    "--port-file for port 0). Exits 0 when SERVING, 1 otherwise.\n";

constexpr char kCheckConfigExamples[] =
    "Example:\n"
    "  gradoracle-server check-config --config server.toml\n"
    "Prints every setting and where it came from, as a configuration file. Exits 0 when serve would accept "
    "the settings, 2 otherwise; the data itself is read by serve and inspect.\n";

constexpr char kTokenExamples[] =
    "Examples:\n"
    "  gradoracle-server token create --ledger sqlite:ledger.db --principal alice --limit 100000 --out alice.token\n"
    "  gradoracle-server token list --ledger sqlite:ledger.db\n"
    "  gradoracle-server token revoke --ledger sqlite:ledger.db --token 3f9c20e1a7b4\n"
    "  gradoracle-server token grant --ledger sqlite:ledger.db --principal alice --limit 200000\n"
    "  gradoracle-server token cap --ledger sqlite:ledger.db --limit 1000000\n"
    "Works while a server runs, through its socket beside the file, and counts at once. A token is written to its "
    "file\n"
    "only; the ledger keeps its SHA-256.\n";

std::string VersionReport() {
  return absl::StrCat("gradoracle-server ", VersionString(), "\ngRPC ", grpc::Version(), ", protobuf ",
                      google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION), ", Eigen ",
                      EIGEN_WORLD_VERSION, ".", EIGEN_MAJOR_VERSION, ".", EIGEN_MINOR_VERSION);
}

// Switches read as --[no-]name, values as --name VALUE.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(40); }

  std::string make_option_name(const CLI::Option* option, bool is_positional) const override {
    const std::vector<std::string>& names = option->get_lnames();
    if (names.size() == 2 && names[1] == "no-" + names[0]) return "--[no-]" + names[0];
    return Formatter::make_option_name(option, is_positional);
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_size() == 0 ? "" : " " + option->get_type_name();
  }
};

std::string Help(const Setting& setting) {
  std::string help(setting.help);
  if (!setting.choices.empty()) absl::StrAppend(&help, ": ", absl::StrJoin(setting.choices, "|"));
  const std::optional<std::string> standard = FormatSetting(setting, ServerConfig());
  if (standard.has_value()) absl::StrAppend(&help, " (default ", *standard, ")");
  return help;
}

// Adds a flag with a value; its text is read from results() after parsing.
void AddTextFlag(CLI::App& app, const std::string& name, absl::string_view value, absl::string_view help,
                 absl::string_view group) {
  app.add_option(
         name, [](const CLI::results_t&) { return true; }, std::string(help))
      ->type_name(std::string(value))
      ->type_size(1)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
      ->group(std::string(group));
}

// Adds a switch; `help` is const, as CLI11 would take a plain std::string for the variable to store into.
CLI::Option* AddSwitch(CLI::App& app, const std::string& names, const std::string& help) {
  return app.add_flag(names, help)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void AddSettings(CLI::App& app) {
  app.set_help_flag("-h,--help", "Print this help and exit");
  AddSwitch(app, "--version", "Print the versions of this program and its libraries and exit");
  AddSwitch(app, "--json", "Errors as JSON on stdout; results in one line");
  AddTextFlag(app, "--config", "FILE.toml", "Read settings from this file", "Options");
  for (const Setting& setting : Settings()) {
    const std::string name = FlagName(setting);
    if (IsSwitch(setting)) {
      AddSwitch(app, absl::StrCat(name, ",!--no-", setting.name), Help(setting))->group(std::string(setting.group));
    } else {
      AddTextFlag(app, name, setting.value, Help(setting), setting.group);
    }
  }
}

// The last text given for `name`; nullopt when it was not given.
std::optional<std::string> Given(const CLI::App& app, const std::string& name) {
  const CLI::Option* option = app.get_option_no_throw(name);
  if (option == nullptr || option->results().empty()) return std::nullopt;
  return option->results().back();
}

void Collect(const CLI::App& app, CommandLine& line) {
  for (const Setting& setting : Settings()) {
    if (auto text = Given(app, FlagName(setting))) line.flags[std::string(setting.name)] = *text;
  }
  if (auto path = Given(app, "--config")) line.flags["config"] = *path;
  line.json = line.json || Given(app, "--json").has_value();
  if (Given(app, "--version").has_value()) line.text_to_print = VersionReport() + "\n";
}

// One of the verbs below `token`, with the flags that it takes.
struct TokenVerb {
  TokenCommand::Verb verb;
  CLI::App* app;
};

std::vector<TokenVerb> AddTokenVerbs(CLI::App& app) {
  CLI::App* token = app.add_subcommand("token", "Give callers tokens and budgets, and take them back");
  token->require_subcommand(1);
  token->footer(absl::StrCat(kTokenExamples, kExitCodes));
  const auto add = [&](const char* name, const char* help) {
    CLI::App* verb = token->add_subcommand(name, help);
    verb->set_help_flag("-h,--help", "Print this help and exit");
    verb->footer(absl::StrCat(kTokenExamples, kExitCodes));
    AddTextFlag(*verb, "--ledger", "LEDGER", "Where: sqlite:FILE or postgresql://...; as serve reads it", "Options");
    AddTextFlag(*verb, "--audit-log", "FILE", "Its audit log, where serve keeps one", "Options");
    AddTextFlag(*verb, "--config", "FILE.toml", "Read ledger and audit_log from this file", "Options");
    AddSwitch(*verb, "--json", "The result, or an error, as one line of JSON");
    return verb;
  };
  const char* kLimit = "Gradients over all time, or unlimited";
  using Verb = TokenCommand::Verb;
  CLI::App* create = add("create", "Make a token for a principal");
  AddTextFlag(*create, "--principal", "P", "Whom it identifies", "Token");
  AddTextFlag(*create, "--limit", "M", absl::StrCat(kLimit, "; needed for a new principal"), "Token");
  AddTextFlag(*create, "--expires", "TIME", "From now: 30d, 12h; never unless given", "Token");
  AddTextFlag(*create, "--out", "FILE", "A new file for the token, readable by you alone", "Token");
  CLI::App* list = add("list", "List tokens, and what everybody may spend and has spent");
  CLI::App* revoke = add("revoke", "Refuse a token, or a principal, from now on");
  AddTextFlag(*revoke, "--token", "ID", "This token (its name in `token list`)", "Token");
  AddTextFlag(*revoke, "--principal", "P", "This principal and all its tokens", "Token");
  CLI::App* grant = add("grant", "Set what a principal may spend; what it has spent stays");
  AddTextFlag(*grant, "--principal", "P", "Whose limit", "Token");
  AddTextFlag(*grant, "--limit", "M", kLimit, "Token");
  CLI::App* cap = add("cap", "Set what all principals together may spend");
  AddTextFlag(*cap, "--limit", "M", kLimit, "Token");
  return {
      {Verb::kCreate, create}, {Verb::kList, list}, {Verb::kRevoke, revoke}, {Verb::kGrant, grant}, {Verb::kCap, cap}};
}

TokenCommand ReadTokenCommand(const TokenVerb& given) {
  TokenCommand command;
  command.verb = given.verb;
  command.principal = Given(*given.app, "--principal").value_or("");
  command.limit = Given(*given.app, "--limit").value_or("");
  command.expires = Given(*given.app, "--expires").value_or("");
  command.out = Given(*given.app, "--out").value_or("");
  command.token_id = Given(*given.app, "--token").value_or("");
  return command;
}

absl::Status Usage(absl::string_view message) {
  return InvalidField("USAGE", "", absl::StrCat(message, " (see gradoracle-server --help)"));
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv) {
  CLI::App app(kDescription, "gradoracle-server");
  app.formatter(std::make_shared<HelpFormatter>());
  app.require_subcommand(0, 1);
  app.footer(absl::StrCat(kExamples, kExitCodes));
  AddSettings(app);
  const auto add_verb = [&](const char* name, const char* help, const char* footer) {
    CLI::App* verb = app.add_subcommand(name, help);
    verb->footer(absl::StrCat(footer, kExitCodes));
    AddSettings(*verb);
    return verb;
  };
  add_verb("serve", "Serve (also without any verb)", kExamples);
  CLI::App* inspect = add_verb("inspect", "Tell the owner about the data set, as JSON", kInspectExamples);
  AddTextFlag(*inspect, "--hessian-out", "FILE.npy", "Write the exact Hessian X'X/N, in served units", "Results");
  AddTextFlag(*inspect, "--scaling-out", "FILE.json", "Write means and deviations, for --scaling", "Results");
  AddTextFlag(*inspect, "--compare", "HESSIAN.npy", "Add relative_error of this estimate to the result", "Results");
  CLI::App* healthcheck = add_verb("healthcheck", "Ask a running server whether it serves", kHealthcheckExamples);
  CLI::App* check_config = add_verb("check-config", "Check settings and print them", kCheckConfigExamples);
  CLI::App* audit_log = app.add_subcommand("audit-log", "Check an audit log: audit-log verify FILE");
  audit_log->require_subcommand(1);
  CLI::App* verify = audit_log->add_subcommand("verify", "Verify the chain of an audit log and print what it tells");
  std::string audit_log_file;
  verify->add_option("FILE", audit_log_file, "The audit log")->required()->type_name("");
  AddSwitch(*verify, "--json", "Errors as JSON on stdout; the result in one line");
  const std::vector<TokenVerb> token_verbs = AddTokenVerbs(app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    std::ostringstream text;
    app.exit(help, text, text);
    CommandLine line;
    line.text_to_print = text.str();
    return line;
  } catch (const CLI::ParseError& error) {
    return Usage(error.what());
  }
  CommandLine line;
  Collect(app, line);
  for (const CLI::App* verb : app.get_subcommands()) Collect(*verb, line);
  if (inspect->parsed()) {
    line.verb = Verb::kInspect;
    line.hessian_out = Given(*inspect, "--hessian-out").value_or("");
    line.scaling_out = Given(*inspect, "--scaling-out").value_or("");
    line.compare = Given(*inspect, "--compare").value_or("");
  }
  if (audit_log->parsed()) {
    line.verb = Verb::kVerifyAuditLog;
    line.audit_log = audit_log_file;
    line.json = line.json || Given(*verify, "--json").has_value();
  }
  if (healthcheck->parsed()) line.verb = Verb::kHealthcheck;
  if (check_config->parsed()) line.verb = Verb::kCheckConfig;
  for (const TokenVerb& token : token_verbs) {
    if (!token.app->parsed()) continue;
    Collect(*token.app, line);
    line.verb = Verb::kToken;
    line.token = ReadTokenCommand(token);
  }
  return line;
}

bool HasWord(int argc, const char* const* argv, absl::string_view word) {
  for (int i = 1; i < argc; ++i) {
    if (absl::string_view(argv[i]) == word) return true;
  }
  return false;
}

}  // namespace gradoracle
