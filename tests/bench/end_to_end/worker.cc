#include "tests/bench/end_to_end/worker.h"

#include <cstdlib>
#include <iostream>

#include "absl/strings/numbers.h"

namespace gradoracle {

void Fail(const std::string& what) {
  std::cerr << "bench: " << what << "\n";
  std::exit(1);
}

void Check(const absl::Status& status) {
  if (!status.ok()) Fail(status.ToString());
}

const std::string& Arguments::Text(const std::string& name) const {
  const auto found = values.find(name);
  if (found == values.end()) Fail("--" + name + " is missing");
  return found->second;
}

std::string Arguments::TextOr(const std::string& name, const std::string& otherwise) const {
  const auto found = values.find(name);
  return found == values.end() ? otherwise : found->second;
}

int64_t Arguments::Number(const std::string& name) const {
  int64_t number = 0;
  if (!absl::SimpleAtoi(Text(name), &number) || number < 1) Fail("--" + name + " is not a positive integer");
  return number;
}

Arguments ParseArguments(int argc, char** argv) {
  Arguments arguments;
  if (argc < 2 || argc % 2 != 0) Fail("usage: MODE --name value ...");
  arguments.mode = argv[1];
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name.rfind("--", 0) != 0) Fail("not a flag: " + name);
    arguments.values[name.substr(2)] = argv[i + 1];
  }
  return arguments;
}

OracleClientOptions ClientOptions(const Arguments& arguments) {
  OracleClientOptions options;
  options.tls_ca = arguments.TextOr("tls-ca", "");
  options.token_file = arguments.TextOr("token-file", "");
  return options;
}

GradientQuery QueryAtZero(int64_t dimension, int64_t batch_size, int64_t count) {
  GradientQuery query;
  query.weights = Eigen::VectorXd::Zero(dimension);
  query.batch_size = batch_size;
  query.count = count;
  return query;
}

void Serve(const std::function<std::string()>& measure) {
  std::cout << "ready" << std::endl;
  std::string line;
  while (std::getline(std::cin, line)) std::cout << measure() << std::endl;
}

}  // namespace gradoracle
