#include "server/connections/self_probe.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/errors.h"
#include "core/freer.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/connections/file_descriptor.h"
#include "server/operations/log.h"

namespace gradoracle {
namespace {

using Clock = std::chrono::steady_clock;

absl::Status NoAnswer(absl::string_view why) {
  return MakeError(absl::StatusCode::kUnavailable, "NO_ANSWER", "", absl::StrCat("the server does not answer: ", why));
}

absl::Status NoAnswer(absl::string_view what, int error) {
  return NoAnswer(absl::StrCat(what, ": ", std::strerror(error)));
}

// A wildcard, which ListenOn makes one of both families where it can, is reached by IPv4: the address :: can often be
// bound where ::1 does not exist.
sockaddr_storage Reachable(const sockaddr_storage& address) {
  const std::optional<PeerAddress> bound = PeerFromSocket(address);
  constexpr PeerAddress::Ip kIpv6Wildcard = {};
  constexpr PeerAddress::Ip kIpv4Wildcard = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (!bound.has_value() || (bound->ip != kIpv6Wildcard && bound->ip != kIpv4Wildcard)) return address;
  sockaddr_in loopback = {};
  loopback.sin_family = AF_INET;
  loopback.sin_port = htons(bound->port);
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_storage reachable = {};
  std::memcpy(&reachable, &loopback, sizeof(loopback));
  return reachable;
}

sockaddr_storage WithoutPort(sockaddr_storage address) {
  std::memset(reinterpret_cast<char*>(&address) + offsetof(sockaddr_in, sin_port), 0, sizeof(in_port_t));
  return address;
}

socklen_t Size(const sockaddr_storage& address) {
  return address.ss_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
}

// One non-blocking socket and the time until which it may be waited for.
class Exchange {
 public:
  Exchange(FileDescriptor socket, Clock::time_point deadline) : socket_(std::move(socket)), deadline_(deadline) {}

  absl::Status Await(int16_t events) {
    while (true) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
      pollfd waiting = {.fd = socket_.get(), .events = events, .revents = 0};
      const int ready = poll(&waiting, 1, static_cast<int>(std::max<int64_t>(0, left)));
      if (ready > 0) return absl::OkStatus();
      if (ready == 0) return NoAnswer("nothing within the time");
      if (errno != EINTR) return NoAnswer("poll", errno);
    }
  }

  absl::Status Send(absl::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        bytes.remove_prefix(static_cast<size_t>(sent));
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        GRADORACLE_RETURN_IF_ERROR(Await(POLLOUT));
      } else if (errno != EINTR) {
        return NoAnswer("send", errno);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Receive(size_t size, std::string& bytes) {
    bytes.resize(size);
    for (size_t received = 0; received < size;) {
      const ssize_t got = recv(socket_.get(), bytes.data() + received, size - received, 0);
      if (got > 0) {
        received += static_cast<size_t>(got);
      } else if (got == 0) {
        return NoAnswer("the connection was closed");
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        GRADORACLE_RETURN_IF_ERROR(Await(POLLIN));
      } else if (errno != EINTR) {
        return NoAnswer("receive", errno);
      }
    }
    return absl::OkStatus();
  }

 private:
  const FileDescriptor socket_;
  const Clock::time_point deadline_;
};

absl::Status AskInPlaintext(Exchange& exchange) {
  // RFC 9113: the preface, then empty settings (length 0, type 4, no flags, stream 0).
  constexpr absl::string_view kHello("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 24 + 9);
  constexpr uint8_t kSettings = 4;
  constexpr uint8_t kAcknowledged = 1;
  GRADORACLE_RETURN_IF_ERROR(exchange.Send(kHello));
  while (true) {
    std::string frame;
    GRADORACLE_RETURN_IF_ERROR(exchange.Receive(9, frame));
    const auto byte = [&frame](size_t i) { return static_cast<uint8_t>(frame[i]); };
    const size_t length = size_t{byte(0)} << 16 | size_t{byte(1)} << 8 | byte(2);
    if (byte(3) == kSettings && byte(4) == kAcknowledged) return absl::OkStatus();
    GRADORACLE_RETURN_IF_ERROR(exchange.Receive(length, frame));
  }
}

absl::Status AskWithTls(Exchange& exchange) {
  const std::unique_ptr<SSL_CTX, Freer<SSL_CTX_free>> context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr) return NoAnswer("OpenSSL has no context");
  const std::unique_ptr<SSL, Freer<SSL_free>> tls(SSL_new(context.get()));
  if (tls == nullptr) return NoAnswer("OpenSSL has no connection");
  BIO* const heard = BIO_new(BIO_s_mem());  // both are the connection's from SSL_set_bio on
  BIO* const said = BIO_new(BIO_s_mem());
  SSL_set_bio(tls.get(), heard, said);
  constexpr std::array<unsigned char, 3> kAlpn = {2, 'h', '2'};
  SSL_set_alpn_protos(tls.get(), kAlpn.data(), kAlpn.size());
  SSL_connect(tls.get());  // says hello, and hears nothing
  char* hello = nullptr;
  const auto size = static_cast<size_t>(BIO_get_mem_data(said, &hello));
  GRADORACLE_RETURN_IF_ERROR(exchange.Send(absl::string_view(hello, size)));
  // The first byte of the answer will do: to go on would be to show a certificate, or to be refused, loudly, for having
  // none.
  std::string answer;
  return exchange.Receive(1, answer);
}

}  // namespace

absl::Status ProbeOnce(const sockaddr_storage& address, bool tls, ConnectionTable* table, absl::Duration timeout) {
  const sockaddr_storage target = Reachable(address);
  FileDescriptor socket(::socket(target.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return NoAnswer("socket", errno);
  // Bound before it connects, so that the table knows it before the acceptor sees it.
  sockaddr_storage own = WithoutPort(target);
  socklen_t size = sizeof(own);
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&own), Size(own)) != 0 ||
      getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &size) != 0) {
    return NoAnswer("bind", errno);
  }
  const std::optional<PeerAddress> peer = PeerFromSocket(own);
  if (table != nullptr) table->Expect(*peer);
  const absl::Cleanup forget = [&] {
    if (table != nullptr) table->StopExpecting(*peer);
  };
  const int connected = connect(socket.get(), reinterpret_cast<const sockaddr*>(&target), Size(target));
  if (connected != 0 && errno != EINPROGRESS) return NoAnswer("connect", errno);
  Exchange exchange(std::move(socket), Clock::now() + absl::ToChronoMilliseconds(timeout));
  GRADORACLE_RETURN_IF_ERROR(exchange.Await(POLLOUT));
  return tls ? AskWithTls(exchange) : AskInPlaintext(exchange);
}

SelfProbe::SelfProbe(const Options& options, std::function<absl::Status(absl::Duration)> probe,
                     std::function<void()> give_up)
    : options_(options), probe_(std::move(probe)), give_up_(std::move(give_up)), thread_([this] { Run(); }) {}

SelfProbe::~SelfProbe() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  stopping_.notify_all();
  thread_.join();
}

void SelfProbe::Run() {
  pthread_setname_np(pthread_self(), "self-probe");
  bool answered = false;
  for (int failures = 0;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (stopping_.wait_for(lock, absl::ToChronoNanoseconds(options_.interval), [this] { return stop_; })) return;
    }
    const absl::Status answer = probe_(options_.timeout);
    answered = answered || answer.ok();
    failures = answer.ok() ? 0 : failures + 1;
    if (answer.ok()) continue;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stop_) return;
    Log(LogLevel::kWarning, "self-probe failed", {{"error", std::string(answer.message())}, {"in_a_row", failures}});
    if (!answered || failures < options_.failures) continue;
    give_up_();
    return;
  }
}

}  // namespace gradoracle
