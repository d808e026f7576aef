// Uses gradoracle::client: an oracle that is not there is UNAVAILABLE or DEADLINE_EXCEEDED, as a status, not a crash.
#include <gradoracle/client/oracle_client.h>

#include <iostream>

int main() {
  gradoracle::OracleClientOptions options;
  options.deadline = absl::Seconds(2);
  // Port 1 (tcpmux) has no listener.
  auto client = gradoracle::OracleClient::Create("127.0.0.1:1", options);
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  const absl::Status status = (*client)->Info().status();
  std::cout << status << "\n";
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ? 0 : 1;
}
