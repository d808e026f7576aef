#ifndef GRADORACLE_TESTS_BENCH_END_TO_END_WORKER_H_
#define GRADORACLE_TESTS_BENCH_END_TO_END_WORKER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "client/oracle_client.h"
#include "core/gradient_source.h"

// What the programs have in common that a script of this folder starts once and lets measure again and again.
namespace gradoracle {

// Prints `what` and ends the process with exit code 1.
[[noreturn]] void Fail(const std::string& what);
// Fails unless `status` is ok.
void Check(const absl::Status& status);

class Stopwatch {
 public:
  double Seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// PROGRAM MODE --name value ...
struct Arguments {
  std::string mode;
  std::map<std::string, std::string> values;

  const std::string& Text(const std::string& name) const;  // fails when it is missing
  std::string TextOr(const std::string& name, const std::string& otherwise) const;
  int64_t Number(const std::string& name) const;  // fails unless it is a positive integer
};

// Fails when there is no mode, or something is not a flag with its value.
Arguments ParseArguments(int argc, char** argv);

// --tls-ca and --token-file; without them plaintext without a token.
OracleClientOptions ClientOptions(const Arguments& arguments);

GradientQuery QueryAtZero(int64_t dimension, int64_t batch_size, int64_t count);

// Says "ready", then answers each line on standard input with the line that `measure` returns.
void Serve(const std::function<std::string()>& measure);

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_BENCH_END_TO_END_WORKER_H_
