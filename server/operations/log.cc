#include "server/operations/log.h"

#include <grpc/support/log.h>

#include <chrono>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/protobuf/stubs/logging.h"
#include "nlohmann/json.hpp"
#include "server/operations/repeat_filter.h"
#include "spdlog/logger.h"
#include "spdlog/sinks/stdout_sinks.h"

namespace gradoracle {
namespace {

struct Sink {
  bool json = false;
  std::shared_ptr<spdlog::logger> logger;
};

// Never destroyed: gRPC's threads may log until the process is gone.
Sink& TheSink() {
  static Sink& sink = *[] {
    auto* made = new Sink;
    made->logger = std::make_shared<spdlog::logger>("gradoracle", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->logger->set_pattern("%v");
    made->logger->flush_on(spdlog::level::trace);
    return made;
  }();
  return sink;
}

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

absl::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::string Dump(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// Control characters as JSON escapes, so that no value can forge a line.
std::string Plain(absl::string_view text) {
  const std::string quoted = Dump(std::string(text));
  return quoted.size() == text.size() + 2 ? std::string(text) : quoted;
}

std::string FormatText(const std::string& time, LogLevel level, absl::string_view message,
                       const nlohmann::ordered_json& fields) {
  std::string line = absl::StrCat(time, " ", LevelName(level), " ", Plain(message));
  for (const auto& [key, value] : fields.items()) {
    absl::StrAppend(&line, " ", key, "=", value.is_string() ? Plain(value.get<std::string>()) : Dump(value));
  }
  return line;
}

std::string FormatJson(const std::string& time, LogLevel level, absl::string_view message,
                       const nlohmann::ordered_json& fields) {
  nlohmann::ordered_json line = {{"ts", time}, {"level", std::string(LevelName(level))}, {"msg", std::string(message)}};
  line.update(fields);
  return Dump(line);
}

// gRPC has an error for every TLS handshake that fails: without a filter a scan of the port fills the log.
void LogFromGrpc(gpr_log_func_args* args) {
  static RepeatFilter& filter = *new RepeatFilter(std::chrono::minutes(1));
  if (args->severity != GPR_LOG_SEVERITY_ERROR) return Log(LogLevel::kDebug, args->message, {{"source", "grpc"}});
  const auto left_out = filter.Pass(absl::StrCat(args->file, ":", args->line), RepeatFilter::Clock::now());
  if (!left_out.has_value()) return Log(LogLevel::kDebug, args->message, {{"source", "grpc"}});
  nlohmann::ordered_json fields = {{"source", "grpc"}};
  if (*left_out > 0) fields["alike_left_out"] = *left_out;
  Log(LogLevel::kWarning, args->message, fields);
}

// protobuf complains of texts that are no UTF-8, which any caller can send as often as it likes; they are refused with
// an error, so that nothing is lost by not repeating it here.
void LogFromProtobuf(google::protobuf::LogLevel level, const char*, int, const std::string& message) {
  Log(level >= google::protobuf::LOGLEVEL_FATAL ? LogLevel::kError : LogLevel::kDebug, message,
      {{"source", "protobuf"}});
}

}  // namespace

void StartLog(const std::string& level, const std::string& format) {
  TheSink().json = format == "json";
  SetLogLevel(level);
  gpr_set_log_function(LogFromGrpc);
  google::protobuf::SetLogHandler(LogFromProtobuf);
}

void SetLogLevel(const std::string& level) {
  TheSink().logger->set_level(level == "debug"     ? spdlog::level::debug
                              : level == "info"    ? spdlog::level::info
                              : level == "warning" ? spdlog::level::warn
                                                   : spdlog::level::err);
}

void Log(LogLevel level, absl::string_view message, const nlohmann::ordered_json& fields) {
  const Sink& sink = TheSink();
  if (!sink.logger->should_log(SpdlogLevel(level))) return;
  const std::string time = absl::FormatTime("%Y-%m-%d%ET%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
  const std::string line =
      sink.json ? FormatJson(time, level, message, fields) : FormatText(time, level, message, fields);
  sink.logger->log(SpdlogLevel(level), line);
}

void Log(LogLevel level, absl::string_view message) { Log(level, message, nlohmann::ordered_json::object()); }

}  // namespace gradoracle
