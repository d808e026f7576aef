#include "server/connections/peer_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "absl/strings/strip.h"

namespace gradoracle {
namespace {

constexpr PeerAddress::Ip kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr size_t kMappedPrefixSize = 12;

bool IsIpv4(const PeerAddress::Ip& ip) {
  return std::equal(ip.begin(), ip.begin() + kMappedPrefixSize, kMappedPrefix.begin());
}

PeerAddress::Ip FromIpv4(const in_addr& address) {
  PeerAddress::Ip ip = kMappedPrefix;
  std::memcpy(ip.data() + kMappedPrefixSize, &address, sizeof(address));
  return ip;
}

PeerAddress::Ip FromIpv6(const in6_addr& address) {
  PeerAddress::Ip ip;
  std::memcpy(ip.data(), &address, sizeof(address));
  return ip;
}

std::optional<PeerAddress::Ip> ParseIpv4(const std::string& text) {
  in_addr address;
  if (inet_pton(AF_INET, text.c_str(), &address) != 1) return std::nullopt;
  return FromIpv4(address);
}

std::optional<PeerAddress::Ip> ParseIpv6(const std::string& text) {
  in6_addr address;
  if (inet_pton(AF_INET6, text.c_str(), &address) != 1) return std::nullopt;
  return FromIpv6(address);
}

}  // namespace

PeerAddress::Ip PeerAddress::Block() const {
  Ip block = ip;
  if (!IsIpv4(ip)) std::fill(block.begin() + 8, block.end(), uint8_t{0});
  return block;
}

std::string PeerAddress::IpText() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (IsIpv4(ip)) {
    inet_ntop(AF_INET, ip.data() + kMappedPrefixSize, text, sizeof(text));
  } else {
    inet_ntop(AF_INET6, ip.data(), text, sizeof(text));
  }
  return text;
}

std::optional<PeerAddress> PeerFromSocket(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    sockaddr_in ipv4;
    std::memcpy(&ipv4, &address, sizeof(ipv4));
    return PeerAddress{FromIpv4(ipv4.sin_addr), ntohs(ipv4.sin_port)};
  }
  if (address.ss_family == AF_INET6) {
    sockaddr_in6 ipv6;
    std::memcpy(&ipv6, &address, sizeof(ipv6));
    return PeerAddress{FromIpv6(ipv6.sin6_addr), ntohs(ipv6.sin6_port)};
  }
  return std::nullopt;
}

std::optional<PeerAddress> PeerFromGrpc(absl::string_view peer) {
  const bool is_ipv4 = absl::ConsumePrefix(&peer, "ipv4:");
  const bool is_ipv6 = !is_ipv4 && absl::ConsumePrefix(&peer, "ipv6:");
  const size_t colon = peer.rfind(':');
  if ((!is_ipv4 && !is_ipv6) || colon == absl::string_view::npos) return std::nullopt;
  absl::string_view host = peer.substr(0, colon);
  const absl::string_view port = peer.substr(colon + 1);
  PeerAddress address;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size()) return std::nullopt;
  if (is_ipv6) {
    const bool bracketed = absl::ConsumePrefix(&host, "%5B") && absl::ConsumeSuffix(&host, "%5D");
    if (!bracketed && !(absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]"))) return std::nullopt;
    host = host.substr(0, host.find('%'));  // the scope
  }
  const std::optional<PeerAddress::Ip> ip = is_ipv4 ? ParseIpv4(std::string(host)) : ParseIpv6(std::string(host));
  if (!ip.has_value()) return std::nullopt;
  address.ip = *ip;
  return address;
}

}  // namespace gradoracle
