#ifndef GRADORACLE_SERVER_OPERATIONS_LOG_H_
#define GRADORACLE_SERVER_OPERATIONS_LOG_H_

#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

// The server's log, on stderr. A log is an output too: lines hold no value computed from the data except what the owner
// is told at start-up (the smallest batch size that works, warnings naming columns), and no secret.
namespace gradoracle {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Starts logging; call once, before other threads exist. Text lines read
//   2026-01-31T12:00:00.123Z info serving address=127.0.0.1:50051
// and JSON lines {"ts":...,"level":...,"msg":...,<fields>}. gRPC's own log goes the same way: its errors as warnings,
// of each place in its code one a minute (the others at level debug). level: debug, info, warning, error; format: text,
// json.
void StartLog(const std::string& level, const std::string& format);

// Changes the level while serving.
void SetLogLevel(const std::string& level);

// Writes one line. `fields` is a JSON object. Thread-safe; before StartLog it writes text at level info.
void Log(LogLevel level, absl::string_view message, const nlohmann::ordered_json& fields);
void Log(LogLevel level, absl::string_view message);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OPERATIONS_LOG_H_
