#include "server/operations/listen_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

bool IsIpv4(const std::string& host) {
  in_addr address;
  return inet_pton(AF_INET, host.c_str(), &address) == 1;
}

bool IsIpv6(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

// Letters, digits, '-', '.': so that nothing reads as a URI scheme of gRPC (`unix:`, `dns:///`).
bool IsHostName(const std::string& host) {
  return !host.empty() &&
         std::all_of(host.begin(), host.end(), [](char c) { return absl::ascii_isalnum(c) || c == '-' || c == '.'; });
}

absl::Status Malformed(absl::string_view text) {
  return InvalidField("LISTEN_ADDRESS", "listen",
                      absl::StrCat("must be HOST:PORT with an address or name and a port from 0 to 65535, such as "
                                   "127.0.0.1:50051 or [::1]:50051, but is '",
                                   text, "'"));
}

}  // namespace

std::string ListenAddress::ToString() const {
  return IsIpv6(host) ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

bool ListenAddress::IsLoopback() const {
  in_addr ipv4;
  if (inet_pton(AF_INET, host.c_str(), &ipv4) == 1) return (ntohl(ipv4.s_addr) >> 24) == 127;
  in6_addr ipv6;
  if (inet_pton(AF_INET6, host.c_str(), &ipv6) == 1) return IN6_IS_ADDR_LOOPBACK(&ipv6);
  return absl::EqualsIgnoreCase(host, "localhost");
}

bool ListenAddress::IsWildcard() const {
  in_addr ipv4;
  if (inet_pton(AF_INET, host.c_str(), &ipv4) == 1) return ipv4.s_addr == INADDR_ANY;
  in6_addr ipv6;
  return inet_pton(AF_INET6, host.c_str(), &ipv6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&ipv6);
}

absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return Malformed(text);
  absl::string_view host = text.substr(0, colon);
  const absl::string_view port = text.substr(colon + 1);

  ListenAddress address;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size() || address.port < 0 || address.port > 65535) {
    return Malformed(text);
  }
  const bool bracketed = absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]");
  address.host = std::string(host);
  const bool valid = bracketed ? IsIpv6(address.host) : IsIpv4(address.host) || IsHostName(address.host);
  if (!valid) return Malformed(text);
  return address;
}

ListenAddress ProbeAddress(const ListenAddress& address) {
  if (!address.IsWildcard()) return address;
  return {.host = IsIpv4(address.host) ? "127.0.0.1" : "::1", .port = address.port};
}

}  // namespace gradoracle
