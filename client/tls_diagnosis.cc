#include "client/tls_diagnosis.h"

#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "core/freer.h"

namespace gradoracle {
namespace {

using Context = std::unique_ptr<SSL_CTX, Freer<SSL_CTX_free>>;
using Session = std::unique_ptr<SSL, Freer<SSL_free>>;
using Addresses = std::unique_ptr<addrinfo, Freer<freeaddrinfo>>;

// An open socket, closed with this object; negative: none.
class Socket {
 public:
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  ~Socket() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

struct Host {
  std::string name;
  std::string port;
};
Host Split(const std::string& target);
int Connect(const Host& host, absl::Time deadline);
bool Wait(int descriptor, short events, absl::Time deadline);
Context MakeContext(const OracleClientOptions& options);
std::string OfServer(long verdict, const std::string& host);
std::string OfRefusal(const SSL* session, bool connected);

}  // namespace

std::string DiagnoseTls(const std::string& target, const OracleClientOptions& options, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  const Host host = Split(target);
  ERR_clear_error();
  const Context context = MakeContext(options);
  if (context == nullptr)
    return "tls_ca, tls_cert or tls_key holds no usable PEM; compare them with what the owner gave";
  const Socket socket(Connect(host, deadline));
  if (socket.get() < 0) return "";
  const Session session(SSL_new(context.get()));
  if (session == nullptr || SSL_set_fd(session.get(), socket.get()) != 1) return "";
  SSL_set_tlsext_host_name(session.get(), host.name.c_str());
  X509_VERIFY_PARAM* const parameters = SSL_get0_param(session.get());
  if (X509_VERIFY_PARAM_set1_ip_asc(parameters, host.name.c_str()) != 1) {
    ERR_clear_error();
    X509_VERIFY_PARAM_set1_host(parameters, host.name.c_str(), 0);
  }
  // A server of TLS 1.3 looks at the client's certificate after the client is done: its first byte tells.
  for (bool connected = false; true;) {
    ERR_clear_error();
    char byte;
    const int result = connected ? SSL_read(session.get(), &byte, 1) : SSL_connect(session.get());
    if (result == 1 && connected) return "";
    if (result == 1) {
      connected = true;
      continue;
    }
    switch (SSL_get_error(session.get(), result)) {
      case SSL_ERROR_WANT_READ:
        if (!Wait(socket.get(), POLLIN, deadline)) return "";
        break;
      case SSL_ERROR_WANT_WRITE:
        if (!Wait(socket.get(), POLLOUT, deadline)) return "";
        break;
      default: {
        const std::string of_server = OfServer(SSL_get_verify_result(session.get()), host.name);
        return of_server.empty() ? OfRefusal(session.get(), connected) : of_server;
      }
    }
  }
}

namespace {

Host Split(const std::string& target) {
  const size_t colon = target.rfind(':');
  if (colon == std::string::npos) return {target, "443"};
  absl::string_view name = absl::string_view(target).substr(0, colon);
  if (absl::ConsumePrefix(&name, "[")) absl::ConsumeSuffix(&name, "]");
  return {std::string(name), target.substr(colon + 1)};
}

int Connect(const Host& host, absl::Time deadline) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.name.c_str(), host.port.c_str(), &hints, &found) != 0) return -1;
  const Addresses addresses(found);
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    const int descriptor = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) continue;
    int error = 0;
    socklen_t size = sizeof(error);
    const bool begun = connect(descriptor, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS;
    if (begun && Wait(descriptor, POLLOUT, deadline) &&
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0) {
      return descriptor;
    }
    close(descriptor);
  }
  return -1;
}

bool Wait(int descriptor, short events, absl::Time deadline) {
  pollfd waiting = {descriptor, events, 0};
  const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
  return left > 0 && poll(&waiting, 1, static_cast<int>(left)) == 1;
}

// nullptr when a file cannot be used.
Context MakeContext(const OracleClientOptions& options) {
  Context context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr) return nullptr;
  constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(context.get(), kHttp2, sizeof(kHttp2));
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  const bool system = options.tls_ca.empty() || options.tls_ca == "system";
  bool usable = system ? SSL_CTX_set_default_verify_paths(context.get()) == 1
                       : SSL_CTX_load_verify_locations(context.get(), options.tls_ca.c_str(), nullptr) == 1;
  if (!options.tls_cert.empty()) {
    usable = usable && SSL_CTX_use_certificate_chain_file(context.get(), options.tls_cert.c_str()) == 1 &&
             SSL_CTX_use_PrivateKey_file(context.get(), options.tls_key.c_str(), SSL_FILETYPE_PEM) == 1 &&
             SSL_CTX_check_private_key(context.get()) == 1;
  }
  return usable ? std::move(context) : nullptr;
}

// What we hold against the server's certificate.
std::string OfServer(long verdict, const std::string& host) {
  switch (verdict) {
    case X509_V_OK:
      return "";
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return "its certificate has expired; its owner must put a new one in place";
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return "its certificate is not valid yet; compare the clock of this machine with the owner's";
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return absl::StrCat("its certificate is for other names than '", host,
                          "'; dial a name that it is for, or have its owner add this one");
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return "its certificate is not vouched for by tls_ca; ask its owner for the right file";
    default:
      return absl::StrCat("its certificate is not accepted: ", X509_verify_cert_error_string(verdict));
  }
}

// What the server held against us. gRPC's servers close without a word, so that it has to be guessed: a handshake that
// was fine for us and then a closed connection mean our certificate.
std::string OfRefusal(const SSL* session, bool connected) {
  const int reason = ERR_GET_REASON(ERR_peek_error());
  if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST) {
    return "it does not speak TLS; without tls_ca it is asked in plaintext";
  }
  if (!connected && reason != SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE) return "";
  const X509* const shown = SSL_get_certificate(session);
  if (shown == nullptr) return "it closes the connection: it wants a client certificate; give tls_cert and tls_key";
  if (X509_cmp_current_time(X509_get0_notAfter(shown)) < 0) {
    return "the certificate in tls_cert has expired; ask the owner of the oracle for a new one";
  }
  return "it does not accept the certificate in tls_cert; ask its owner for one that it does";
}

}  // namespace
}  // namespace gradoracle
