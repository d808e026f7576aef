#include "client/channel_credentials.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

// The authorities this machine trusts, as gRPC finds them.
constexpr char kSystem[] = "system";

absl::StatusOr<std::string> Read(const std::string& path, absl::string_view field) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (file && !text.str().empty()) return text.str();
  return MakeError(absl::StatusCode::kNotFound, "FILE_UNREADABLE", field,
                   absl::StrCat(field, " is '", path,
                                "', which cannot be read: ", errno != 0 ? std::strerror(errno) : "it is empty"));
}

}  // namespace

bool UsesTls(const OracleClientOptions& options) { return !options.tls_ca.empty() || !options.tls_cert.empty(); }

bool IsLoopbackTarget(absl::string_view target) {
  absl::string_view host = target.substr(0, target.rfind(':'));
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  const std::string name(host);
  in_addr ipv4;
  if (inet_pton(AF_INET, name.c_str(), &ipv4) == 1) return (ntohl(ipv4.s_addr) >> 24) == 127;
  in6_addr ipv6;
  if (inet_pton(AF_INET6, name.c_str(), &ipv6) == 1) return IN6_IS_ADDR_LOOPBACK(&ipv6);
  return absl::EqualsIgnoreCase(name, "localhost");
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(const OracleClientOptions& options) {
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    const absl::string_view missing = options.tls_cert.empty() ? "tls_cert" : "tls_key";
    return InvalidField("TLS_OPTIONS", missing,
                        absl::StrCat(missing, " is missing: a client certificate and its private key come together"));
  }
  if (!UsesTls(options)) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions tls;
  if (!options.tls_ca.empty() && options.tls_ca != kSystem) {
    GRADORACLE_ASSIGN_OR_RETURN(tls.pem_root_certs, Read(options.tls_ca, "tls_ca"));
  }
  if (!options.tls_cert.empty()) {
    GRADORACLE_ASSIGN_OR_RETURN(tls.pem_cert_chain, Read(options.tls_cert, "tls_cert"));
    GRADORACLE_ASSIGN_OR_RETURN(tls.pem_private_key, Read(options.tls_key, "tls_key"));
  }
  return grpc::SslCredentials(tls);
}

absl::StatusOr<std::string> Authorization(const std::string& target, const OracleClientOptions& options) {
  constexpr size_t kMaxLength = 4096;
  if (options.token_file.empty()) return "";
  GRADORACLE_ASSIGN_OR_RETURN(const std::string text, Read(options.token_file, "token_file"));
  const absl::string_view token = absl::StripAsciiWhitespace(text);
  if (token.empty() || token.size() > kMaxLength || !std::all_of(token.begin(), token.end(), absl::ascii_isgraph)) {
    return InvalidField(
        "TOKEN_FILE_INVALID", "token_file",
        absl::StrCat("token_file is '", options.token_file,
                     "', which must hold the token and nothing else: one word of printable characters"));
  }
  if (!UsesTls(options) && !options.insecure && !IsLoopbackTarget(target)) {
    return InvalidField("TOKEN_IN_PLAINTEXT", "token_file",
                        absl::StrCat("the token of token_file would cross the network to ", target,
                                     " in plaintext: give tls_ca (a file, or 'system'), or accept that with insecure"));
  }
  return absl::StrCat("Bearer ", token);
}

}  // namespace gradoracle
