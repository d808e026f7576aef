#include "server/config/settings.h"

#include <charconv>
#include <cmath>
#include <type_traits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "core/errors.h"
#include "nlohmann/json.hpp"

namespace gradoracle {
namespace {

constexpr absl::string_view kDataGroup = "Data";
constexpr absl::string_view kListenGroup = "Listening";
constexpr absl::string_view kConnectionGroup = "Connections";
constexpr absl::string_view kNoiseGroup = "Noise and sampling";
constexpr absl::string_view kLimitGroup = "Limits of a request";
constexpr absl::string_view kDefenceGroup = "Defences (docs/defences.md says what each does not stop)";
constexpr absl::string_view kIdentityGroup = "Identity, ledger, TLS";
constexpr absl::string_view kOperationGroup = "Operation";

std::vector<Setting> MakeSettings() {
  using C = ServerConfig;
  return {
      {"data", &C::data, kDataGroup, "FILE", "The data set: .csv, .csv.gz or .npy"},
      {"target", &C::target, kDataGroup, "NAME", "Column to predict; the last one unless given"},
      {"standardise", &C::standardise, kDataGroup, "",
       "Centre every column and divide it by its population standard deviation; --no-standardise serves raw units"},
      {"scaling", &C::scaling, kDataGroup, "FILE.json",
       "Means and deviations to standardise with, instead of the data's own (inspect --scaling-out writes one)"},
      {"dataset-version", &C::dataset_version, kDataGroup, "LABEL",
       "What callers see as dataset_version; from the file's time and the shape unless given"},

      {"listen", &C::listen, kListenGroup, "HOST:PORT", "Address to serve on; port 0 picks a free one"},
      {"port-file", &C::port_file, kListenGroup, "FILE", "Write HOST:PORT here once ready"},
      {"insecure", &C::insecure, kListenGroup, "", "Do without TLS or --auth also on an address that is not loopback"},
      {"reflection", &C::reflection, kListenGroup, "",
       "Describe the services to grpcurl and its like, without asking who they are; on with --auth none unless given"},

      {"max-connections", &C::max_connections, kConnectionGroup, "N", "Most connections open at once", {}, 1, 1e6},
      {"max-connections-per-address",
       &C::max_connections_per_address,
       kConnectionGroup,
       "N",
       "Most of them from one IPv4 address or IPv6 /64",
       {},
       1,
       1e6},
      {"write-timeout",
       &C::write_timeout,
       kConnectionGroup,
       "TIME",
       "Cancel a call whose caller has not taken a message (256 KiB at most, or one gradient) after this; 0: never",
       {},
       0,
       86400},
      {"self-probe-interval",
       &C::self_probe_interval,
       kConnectionGroup,
       "TIME",
       "Connect to itself this often, and end the process after three failures in a row; 0: never",
       {},
       0,
       86400},

      {"noise-rule",
       &C::noise_rule,
       kNoiseGroup,
       "RULE",
       "Total noise variance: n (calibrated), C*n (scaled), data's + V (fixed), data's (none)",
       {"calibrated", "scaled", "fixed", "none"}},
      {"noise-scale", &C::noise_scale, kNoiseGroup, "C", "C of --noise-rule scaled, > 0", {}, 0, HUGE_VAL, true},
      {"noise-variance", &C::noise_variance, kNoiseGroup, "V", "V of --noise-rule fixed, >= 0", {}, 0, HUGE_VAL},
      {"extra-noise-variances",
       &C::extra_noise_variances,
       kNoiseGroup,
       "V,...",
       "Total noise variances a request may ask for instead of the rule's, each > 0",
       {},
       0,
       HUGE_VAL,
       true},
      {"curvature-probe", &C::curvature_probe, kNoiseGroup, "",
       "Let requests switch the targets off: the covariance of the replies is the Hessian at every point"},
      {"sampling",
       &C::sampling,
       kNoiseGroup,
       "KIND",
       "How the rows of a batch are drawn",
       {"iid", "without_replacement", "shuffled_epochs", "poisson"}},

      {"min-batch-size", &C::min_batch_size, kLimitGroup, "N", "Smallest batch a request may ask for", {}, 1},
      {"max-batch-size",
       &C::max_batch_size,
       kLimitGroup,
       "N",
       "Largest batch; the number of rows for iid, half of it otherwise, unless given",
       {},
       1},
      {"max-count", &C::max_count, kLimitGroup, "M", "Most gradients of one request", {}, 1},
      {"max-weights-norm",
       &C::max_weights_norm,
       kLimitGroup,
       "R",
       "Largest Euclidean norm of the weights, in served units",
       {},
       0,
       HUGE_VAL,
       true},
      {"publish-feature-names", &C::publish_feature_names, kLimitGroup, "", "Tell callers the names of the features"},

      {"clip-norm",
       &C::clip_norm,
       kDefenceGroup,
       "C",
       "Shorten every row's gradient to this norm; with --gradient-noise-multiplier and --sampling poisson, in place "
       "of "
       "target noise. Bounds what one row shows; curvature still leaks as the noise is averaged away",
       {},
       0,
       HUGE_VAL,
       true},
      {"gradient-noise-multiplier",
       &C::gradient_noise_multiplier,
       kDefenceGroup,
       "S",
       "Noise on the sum of clipped gradients, in units of --clip-norm",
       {},
       0,
       HUGE_VAL,
       true},
      {"mask-variance",
       &C::mask_variance,
       kDefenceGroup,
       "V",
       "Add N(0, V I) to every reply in place of target noise. Hides the covariance, not the mean: slopes still tell "
       "the "
       "curvature to who asks far apart",
       {},
       0,
       HUGE_VAL,
       true},
      {"mask-budget",
       &C::mask_budget,
       kDefenceGroup,
       "M",
       "A mask for which slopes still err by --mask-error after M gradients; computed from the data, not told to "
       "callers",
       {},
       1},
      {"mask-error", &C::mask_error, kDefenceGroup, "E", "Relative error of --mask-budget", {}, 0, HUGE_VAL, true},
      {"weights-grid",
       &C::weights_grid,
       kDefenceGroup,
       "H",
       "Answer at the nearest multiple of H in every weight, with the same replies whenever asked again. Does not stop "
       "questions at neighbouring points",
       {},
       0,
       HUGE_VAL,
       true},
      {"max-participation",
       &C::max_participation,
       kDefenceGroup,
       "K",
       "Use no row more often than this, over all requests; needs --sampling shuffled_epochs. Bounds label privacy "
       "loss, does not protect features",
       {},
       1},
      {"reply-grid",
       &C::reply_grid,
       kDefenceGroup,
       "G",
       "Round replies to multiples of this power of two. Averaged away like any noise",
       {},
       0,
       HUGE_VAL,
       true},
      {"curvature-floor",
       &C::curvature_floor,
       kDefenceGroup,
       "E",
       "Refuse all callers together beyond the count at which known attacks could know the Hessian to a relative error "
       "below E, 0 < E < 1. Attacks not known here may do better",
       {},
       0,
       1,
       true},
      {"label-width",
       &C::label_width,
       kDefenceGroup,
       "W",
       "For inspect: width of the public range that every target lies in, in served units",
       {},
       0,
       HUGE_VAL,
       true},
      {"privacy-delta", &C::privacy_delta, kDefenceGroup, "D", "For inspect: delta of every epsilon", {}, 0, 1, true},
      {"publish-defences", &C::publish_defences, kDefenceGroup, "",
       "Tell callers the values of the defences; that noise is isotropic they are always told"},

      {"auth",
       &C::auth,
       kIdentityGroup,
       "KIND",
       "What callers must show: nothing, a token, a client certificate",
       {"none", "tokens", "mtls"}},
      {"ledger", &C::ledger, kIdentityGroup, "LEDGER",
       "Record of what each caller has been charged: memory, sqlite:FILE or postgresql://HOST/DATABASE"},
      {"default-limit", &C::default_limit, kIdentityGroup, "M",
       "Gradients, over all time, of a caller the owner has granted nothing; refused unless given (without --auth: "
       "unlimited)"},
      {"dataset-limit", &C::dataset_limit, kIdentityGroup, "M",
       "Gradients, over all time, of all callers together; as stored in the ledger unless given"},
      {"audit-log", &C::audit_log, kIdentityGroup, "FILE",
       "Append a hash-chained line for every charge and every change of the ledger"},
      {"tls-cert", &C::tls_cert, kIdentityGroup, "FILE",
       "Serve over TLS with this certificate (PEM, its chain after it); replaced files are noticed"},
      {"tls-key", &C::tls_key, kIdentityGroup, "FILE", "Private key of --tls-cert (PEM, not encrypted)"},
      {"client-ca", &C::client_ca, kIdentityGroup, "FILE",
       "Who vouches for client certificates (PEM); needed by --auth mtls, possible with --auth tokens"},

      {"threads",
       &C::threads,
       kOperationGroup,
       "N",
       "Compute threads; the cores of this machine unless given",
       {},
       1,
       1024},
      {"admin-listen", &C::admin_listen, kOperationGroup, "HOST:PORT",
       "HTTP port of /metrics, /livez and /readyz; none unless given"},
      {"log-level",
       &C::log_level,
       kOperationGroup,
       "LEVEL",
       "Least severe log line written to stderr",
       {"debug", "info", "warning", "error"}},
      {"log-format",
       &C::log_format,
       kOperationGroup,
       "FORMAT",
       "Lines for people or one JSON object a line",
       {"text", "json"}},
      {"shutdown-delay",
       &C::shutdown_delay,
       kOperationGroup,
       "TIME",
       "After SIGTERM: keep serving this long, health NOT_SERVING",
       {},
       0,
       86400},
      {"shutdown-timeout",
       &C::shutdown_timeout,
       kOperationGroup,
       "TIME",
       "Then: time for calls in flight to finish before they are cancelled",
       {},
       0,
       86400},
  };
}

absl::Status Refused(const Setting& setting, absl::string_view message) {
  return InvalidField("CONFIG_VALUE", KeyName(setting), message);
}

enum class Kind { kText, kSwitch, kInteger, kNumber, kNumberList, kDuration };

template <typename Member>
constexpr Kind KindOfMember() {
  using T = std::remove_cvref_t<decltype(std::declval<ServerConfig&>().*std::declval<Member>())>;
  if constexpr (std::is_same_v<T, std::string>) return Kind::kText;
  if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::optional<bool>>) return Kind::kSwitch;
  if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, std::optional<int64_t>>) return Kind::kInteger;
  if constexpr (std::is_same_v<T, double> || std::is_same_v<T, std::optional<double>>) return Kind::kNumber;
  if constexpr (std::is_same_v<T, std::vector<double>>) return Kind::kNumberList;
  if constexpr (std::is_same_v<T, absl::Duration>) return Kind::kDuration;
}

Kind KindOf(const Setting& setting) {
  return std::visit([]<typename Member>(Member) { return KindOfMember<Member>(); }, setting.member);
}

std::string Range(const Setting& setting, absl::string_view noun) {
  if (setting.positive) return absl::StrCat(noun, " above ", setting.at_least);
  if (std::isinf(setting.at_most)) return absl::StrCat(noun, " of at least ", setting.at_least);
  return absl::StrCat(noun, " from ", static_cast<int64_t>(setting.at_least), " to ",
                      static_cast<int64_t>(setting.at_most));
}

// What the setting accepts, in words.
std::string Allowed(const Setting& setting) {
  switch (KindOf(setting)) {
    case Kind::kText:
      return setting.choices.empty() ? "a text" : absl::StrCat("one of ", absl::StrJoin(setting.choices, ", "));
    case Kind::kSwitch:
      return "true or false";
    case Kind::kInteger:
      return Range(setting, "an integer");
    case Kind::kNumber:
      return Range(setting, "a finite number");
    case Kind::kNumberList:
      return absl::StrCat("a list of numbers, each ", Range(setting, "a finite number"));
    case Kind::kDuration:
      return absl::StrCat("a time such as 5, 5s or 250ms, ", Range(setting, "seconds"));
  }
  return "";
}

absl::Status NotAllowed(const Setting& setting, absl::string_view found) {
  return Refused(setting, absl::StrCat("must be ", Allowed(setting), ", but is ", found));
}

bool InRange(const Setting& setting, double value) {
  if (!std::isfinite(value)) return false;
  return (setting.positive ? value > setting.at_least : value >= setting.at_least) && value <= setting.at_most;
}

// Strict: the whole of `text`, decimal, no blanks. Out of range is an error, never saturation (CLI11 2.1.2 saturates).
template <typename Number>
std::optional<Number> ParseNumber(absl::string_view text) {
  Number number;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<bool> ParseSwitch(const std::string& text) {
  const std::string lower = absl::AsciiStrToLower(text);
  if (lower == "true" || lower == "1" || lower == "yes" || lower == "on") return true;
  if (lower == "false" || lower == "0" || lower == "no" || lower == "off") return false;
  return std::nullopt;
}

std::optional<std::vector<double>> ParseNumberList(const std::string& text) {
  std::vector<double> numbers;
  for (absl::string_view item : absl::StrSplit(text, ',')) {
    const std::optional<double> number = ParseNumber<double>(absl::StripAsciiWhitespace(item));
    if (!number.has_value()) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

std::optional<absl::Duration> ParseSeconds(const SettingValue& value) {
  if (const int64_t* seconds = std::get_if<int64_t>(&value)) return absl::Seconds(*seconds);
  if (const double* seconds = std::get_if<double>(&value)) return absl::Seconds(*seconds);
  const std::string* text = std::get_if<std::string>(&value);
  if (text == nullptr) return std::nullopt;
  if (const std::optional<double> seconds = ParseNumber<double>(*text)) return absl::Seconds(*seconds);
  absl::Duration duration;
  if (!absl::ParseDuration(*text, &duration)) return std::nullopt;
  return duration;
}

// The value for an error message, as its owner wrote it.
std::string Describe(const SettingValue& value) {
  struct {
    std::string operator()(const std::string& text) { return absl::StrCat("'", text, "'"); }
    std::string operator()(bool on) { return on ? "true" : "false"; }
    std::string operator()(int64_t number) { return absl::StrCat(number); }
    std::string operator()(double number) { return absl::StrCat(number); }
    std::string operator()(const std::vector<double>& numbers) {
      return absl::StrCat("[", absl::StrJoin(numbers, ", "), "]");
    }
  } describe;
  return std::visit(describe, value);
}

std::optional<double> AsNumber(const SettingValue& value) {
  if (const int64_t* integer = std::get_if<int64_t>(&value)) return static_cast<double>(*integer);
  if (const double* number = std::get_if<double>(&value)) return *number;
  return std::nullopt;
}

std::optional<std::string> CheckText(const Setting& setting, const SettingValue& value) {
  const std::string* text = std::get_if<std::string>(&value);
  if (text == nullptr) return std::nullopt;
  bool known = setting.choices.empty();
  for (absl::string_view choice : setting.choices) known = known || *text == choice;
  if (!known) return std::nullopt;
  return *text;
}

std::optional<int64_t> CheckInteger(const Setting& setting, const SettingValue& value) {
  const int64_t* integer = std::get_if<int64_t>(&value);
  // Compared as integers: as doubles 2^53 + 1 would pass for 2^53.
  if (integer == nullptr || *integer < static_cast<int64_t>(setting.at_least) ||
      *integer > static_cast<int64_t>(setting.at_most)) {
    return std::nullopt;
  }
  return *integer;
}

std::optional<double> CheckNumber(const Setting& setting, const SettingValue& value) {
  const std::optional<double> number = AsNumber(value);
  if (!number.has_value() || !InRange(setting, *number)) return std::nullopt;
  return number;
}

std::optional<std::vector<double>> CheckNumberList(const Setting& setting, const SettingValue& value) {
  std::vector<double> numbers;
  if (const auto* list = std::get_if<std::vector<double>>(&value)) {
    numbers = *list;
  } else if (const std::optional<double> number = AsNumber(value)) {
    numbers = {*number};
  } else {
    return std::nullopt;
  }
  for (double number : numbers) {
    if (!InRange(setting, number)) return std::nullopt;
  }
  return numbers;
}

std::optional<absl::Duration> CheckDuration(const Setting& setting, const SettingValue& value) {
  const std::optional<absl::Duration> duration = ParseSeconds(value);
  if (!duration.has_value() || !InRange(setting, absl::ToDoubleSeconds(*duration))) return std::nullopt;
  return duration;
}

// Checks for the type behind a member: a value to store, or nothing when it is not allowed.
auto Check(const Setting& setting, const SettingValue& value, std::string ServerConfig::*) {
  return CheckText(setting, value);
}
auto Check(const Setting&, const SettingValue& value, bool ServerConfig::*) {
  const bool* on = std::get_if<bool>(&value);
  return on == nullptr ? std::nullopt : std::optional<bool>(*on);
}
auto Check(const Setting& setting, const SettingValue& value, std::optional<bool> ServerConfig::*) {
  return Check(setting, value, static_cast<bool ServerConfig::*>(nullptr));
}
auto Check(const Setting& setting, const SettingValue& value, int64_t ServerConfig::*) {
  return CheckInteger(setting, value);
}
auto Check(const Setting& setting, const SettingValue& value, std::optional<int64_t> ServerConfig::*) {
  return CheckInteger(setting, value);
}
auto Check(const Setting& setting, const SettingValue& value, double ServerConfig::*) {
  return CheckNumber(setting, value);
}
auto Check(const Setting& setting, const SettingValue& value, std::optional<double> ServerConfig::*) {
  return CheckNumber(setting, value);
}
auto Check(const Setting& setting, const SettingValue& value, std::vector<double> ServerConfig::*) {
  return CheckNumberList(setting, value);
}
auto Check(const Setting& setting, const SettingValue& value, absl::Duration ServerConfig::*) {
  return CheckDuration(setting, value);
}

// JSON's spelling of texts, numbers, booleans and lists of numbers is also TOML's.
std::optional<std::string> Format(const std::string& text) {
  if (text.empty()) return std::nullopt;
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}
std::optional<std::string> Format(const absl::Duration& duration) {
  return absl::StrCat("\"", absl::FormatDuration(duration), "\"");
}
std::optional<std::string> Format(const std::vector<double>& numbers) {
  if (numbers.empty()) return std::nullopt;
  return nlohmann::json(numbers).dump();
}
template <typename T>
std::optional<std::string> Format(const std::optional<T>& value) {
  return value.has_value() ? std::optional<std::string>(nlohmann::json(*value).dump()) : std::nullopt;
}
template <typename T>
  requires std::is_arithmetic_v<T>
std::optional<std::string> Format(const T& value) {
  return nlohmann::json(value).dump();
}

}  // namespace

const std::vector<Setting>& Settings() {
  static const auto& settings = *new std::vector<Setting>(MakeSettings());
  return settings;
}

const Setting* FindSetting(absl::string_view name) {
  for (const Setting& setting : Settings()) {
    if (setting.name == name) return &setting;
  }
  return nullptr;
}

std::string FlagName(const Setting& setting) { return absl::StrCat("--", setting.name); }

std::string EnvironmentName(const Setting& setting) {
  return absl::StrCat("GRADORACLE_", absl::AsciiStrToUpper(KeyName(setting)));
}

std::string KeyName(const Setting& setting) { return absl::StrReplaceAll(setting.name, {{"-", "_"}}); }

bool IsReloadable(const Setting& setting) {
  return setting.group == kLimitGroup ? setting.name != "publish-feature-names" : setting.name == "log-level";
}

bool IsSwitch(const Setting& setting) { return KindOf(setting) == Kind::kSwitch; }

absl::StatusOr<SettingValue> ParseSettingText(const Setting& setting, const std::string& text) {
  std::optional<SettingValue> value;
  switch (KindOf(setting)) {
    case Kind::kText:
    case Kind::kDuration:
      return text;
    case Kind::kSwitch:
      value = ParseSwitch(text);
      break;
    case Kind::kInteger:
      value = ParseNumber<int64_t>(text);
      break;
    case Kind::kNumber:
      value = ParseNumber<double>(text);
      break;
    case Kind::kNumberList:
      value = ParseNumberList(text);
      break;
  }
  if (!value.has_value()) return NotAllowed(setting, Describe(text));
  return *value;
}

absl::Status StoreSetting(const Setting& setting, const SettingValue& value, ServerConfig& config) {
  return std::visit(
      [&](auto member) {
        auto checked = Check(setting, value, member);
        if (!checked.has_value()) return NotAllowed(setting, Describe(value));
        config.*member = *std::move(checked);
        return absl::OkStatus();
      },
      setting.member);
}

std::optional<std::string> FormatSetting(const Setting& setting, const ServerConfig& config) {
  return std::visit([&](auto member) { return Format(config.*member); }, setting.member);
}

std::vector<std::string> ChangedFlags(const ServerConfig& a, const ServerConfig& b,
                                      absl::FunctionRef<bool(const Setting&)> of_interest) {
  std::vector<std::string> flags;
  for (const Setting& setting : Settings()) {
    if (of_interest(setting) && FormatSetting(setting, a) != FormatSetting(setting, b)) {
      flags.push_back(FlagName(setting));
    }
  }
  return flags;
}

void CopySettings(const ServerConfig& from, ServerConfig& to, absl::FunctionRef<bool(const Setting&)> of_interest) {
  for (const Setting& setting : Settings()) {
    if (of_interest(setting)) std::visit([&](auto member) { to.*member = from.*member; }, setting.member);
  }
}

}  // namespace gradoracle
