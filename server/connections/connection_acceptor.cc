#include "server/connections/connection_acceptor.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <variant>

#include "nlohmann/json.hpp"
#include "server/operations/log.h"

namespace gradoracle {
namespace {

// Names in the epoll set: the eventfd, the listeners by their index, and connections from kFirstConnection on.
constexpr uint64_t kWake = 0;
constexpr uint64_t kFirstListener = 1;
constexpr uint64_t kFirstConnection = 1'000'000;

constexpr int kAcceptsPerTurn = 64;
constexpr std::chrono::minutes kLogInterval(1);
// Data sent and unacknowledged for this long ends the connection; gRPC's keepalive sees peers that are silent.
constexpr int kUserTimeoutMilliseconds = 40'000;

// Not waited for: another wake-up with work to do follows.
constexpr int kPauseMilliseconds = 100;

void AddToEpoll(int epoll, int descriptor, uint32_t events, uint64_t id) {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = id;
  epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

// What gRPC sets on the sockets of its own listener.
void SetSocketOptions(int socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMilliseconds, sizeof(kUserTimeoutMilliseconds));
}

FileDescriptor OpenSpare() { return FileDescriptor(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

bool IsOutOfDescriptors(int error) { return error == EMFILE || error == ENFILE; }

}  // namespace

ConnectionAcceptor::ConnectionAcceptor(ListeningSockets sockets, ConnectionTable* table, Metrics* metrics,
                                       HandOver hand_over)
    : port_(sockets.port),
      addresses_(std::move(sockets.addresses)),
      table_(table),
      metrics_(metrics),
      hand_over_(std::move(hand_over)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      spare_(OpenSpare()),
      listeners_(std::move(sockets.descriptors)),
      next_id_(kFirstConnection) {
  AddToEpoll(epoll_.get(), wake_.get(), EPOLLIN, kWake);
  for (size_t i = 0; i < listeners_.size(); ++i) {
    AddToEpoll(epoll_.get(), listeners_[i].get(), EPOLLIN, kFirstListener + i);
  }
  thread_ = std::thread([this] { Run(); });
}

ConnectionAcceptor::~ConnectionAcceptor() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  eventfd_write(wake_.get(), 1);
  thread_.join();
  for (const auto& [id, connection] : connections_) {
    connection->Detach();
    table_->Remove(connection);
    if (metrics_ != nullptr && connection->counted()) metrics_->ConnectionClosed();
  }
}

void ConnectionAcceptor::StopAccepting() {
  std::unique_lock<std::mutex> lock(mutex_);
  stop_accepting_ = true;
  eventfd_write(wake_.get(), 1);
  accepting_stopped_.wait(lock, [this] { return !accepting_; });
}

void ConnectionAcceptor::Run() {
  pthread_setname_np(pthread_self(), "accept");
  std::array<epoll_event, 64> events;
  while (true) {
    const int ready = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    // Ends first: they make room for those that come.
    for (int i = 0; i < ready; ++i) {
      const bool hung_up = (events[i].events & EPOLLHUP) != 0;
      if (hung_up && events[i].data.u64 >= kFirstConnection) Ended(events[i].data.u64);
    }
    for (int i = 0; i < ready; ++i) {
      const uint64_t id = events[i].data.u64;
      if (id >= kFirstListener && id < kFirstConnection && id - kFirstListener < listeners_.size()) {
        AcceptSome(listeners_[id - kFirstListener].get());
      }
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stop_accepting_ || stop_) CloseListeners();
    if (stop_) return;
    eventfd_t ignored;
    eventfd_read(wake_.get(), &ignored);
  }
}

void ConnectionAcceptor::CloseListeners() {
  listeners_.clear();  // those waiting to be accepted are reset
  accepting_ = false;
  accepting_stopped_.notify_all();
}

void ConnectionAcceptor::AcceptSome(int listener) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    sockaddr_storage address = {};
    socklen_t size = sizeof(address);
    FileDescriptor socket(
        accept4(listener, reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.valid()) {
      Accepted(std::move(socket), address);
    } else if (IsOutOfDescriptors(errno)) {
      ShedOne(listener);
      return;
    } else if (errno == ENOBUFS || errno == ENOMEM) {
      // The kernel has no memory: the connection stays in the queue, and asking again at once would only spin.
      std::this_thread::sleep_for(std::chrono::milliseconds(kPauseMilliseconds));
      return;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    }
    // Anything else is the fault of that one connection (ECONNABORTED and the like): the next, please.
  }
}

void ConnectionAcceptor::Accepted(FileDescriptor socket, const sockaddr_storage& address) {
  const std::optional<PeerAddress> peer = PeerFromSocket(address);
  if (!peer.has_value()) return;
  auto decision = table_->Admit(*peer, std::chrono::steady_clock::now());
  if (const ConnectionRefusal* refusal = std::get_if<ConnectionRefusal>(&decision)) {
    Refuse(std::move(socket), *refusal == ConnectionRefusal::kTooMany ? "total" : "address", peer->IpText());
    return;
  }
  const auto connection = std::get<std::shared_ptr<Connection>>(std::move(decision));
  FileDescriptor second(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!second.valid()) {
    table_->Remove(connection);
    Refuse(std::move(socket), "descriptors", peer->IpText());
    return;
  }
  SetSocketOptions(socket.get());
  const uint64_t id = next_id_++;
  const int watched = second.get();
  connection->Attach(std::move(second));
  connections_.emplace(id, connection);
  if (metrics_ != nullptr && connection->counted()) metrics_->ConnectionAccepted();
  // No events but EPOLLHUP and EPOLLERR, which need no asking; edge-triggered, as an error alone is no end yet.
  AddToEpoll(epoll_.get(), watched, EPOLLET, id);
  hand_over_(socket.Release());
}

// Without descriptors a connection cannot even be refused, and would wait, unheard, until its caller gives up. The
// spare one is closed for a moment to take it and turn it away.
void ConnectionAcceptor::ShedOne(int listener) {
  spare_.Close();
  FileDescriptor socket(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (socket.valid()) {
    Refuse(std::move(socket), "descriptors", "");
  } else {
    // Another thread took the descriptor, or the whole machine has none.
    std::this_thread::sleep_for(std::chrono::milliseconds(kPauseMilliseconds));
  }
  spare_ = OpenSpare();
}

void ConnectionAcceptor::Refuse(FileDescriptor socket, absl::string_view reason, const std::string& from) {
  // Reset instead of closed in order: the caller learns at once, and the kernel keeps nothing of it.
  const linger now = {.l_onoff = 1, .l_linger = 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  socket.Close();
  if (metrics_ != nullptr) metrics_->ConnectionRefused(reason);
  Refusals& refusals = refusals_[std::string(reason)];
  ++refusals.count;
  const Time time = std::chrono::steady_clock::now();
  if (refusals.logged != Time::min() && time - refusals.logged < kLogInterval) return;
  Log(LogLevel::kWarning, "connections refused",
      {{"reason", std::string(reason)}, {"count", refusals.count}, {"latest_from", from}});
  refusals = {.count = 0, .logged = time};
}

void ConnectionAcceptor::Ended(uint64_t id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  const std::shared_ptr<Connection> connection = found->second;
  // gRPC may not have closed its descriptor yet, so closing ours does not take it out of the set.
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection->descriptor(), nullptr);
  connection->Detach();
  connections_.erase(found);
  table_->Remove(connection);
  if (metrics_ != nullptr && connection->counted()) metrics_->ConnectionClosed();
}

}  // namespace gradoracle
