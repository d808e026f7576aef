#ifndef GRADORACLE_SERVER_CONNECTIONS_CONNECTION_ACCEPTOR_H_
#define GRADORACLE_SERVER_CONNECTIONS_CONNECTION_ACCEPTOR_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>

#include "absl/strings/string_view.h"
#include "server/connections/connection_table.h"
#include "server/connections/file_descriptor.h"
#include "server/connections/listening_sockets.h"
#include "server/operations/metrics.h"

namespace gradoracle {

// Accepts connections instead of gRPC, whose own listener stops accepting for good once the process ran out of
// descriptors (CVE-2023-4785 in gRPC 1.51). One thread accepts within the table's limits, hands each socket on, and
// sees it end.
//
// How it sees the end: it keeps a second descriptor of each socket in its epoll set. gRPC shuts a socket down before it
// closes it, and so does a reset of the peer's, which shows as EPOLLHUP on the second descriptor; that one is then
// closed at once, so that the socket is gone when gRPC closes its own.
class ConnectionAcceptor {
 public:
  // Takes ownership of an accepted, non-blocking socket. Called from the acceptor's thread.
  using HandOver = std::function<void(int socket)>;

  // Starts accepting. The table and the metrics (may be null) must outlive this.
  ConnectionAcceptor(ListeningSockets sockets, ConnectionTable* table, Metrics* metrics, HandOver hand_over);
  ~ConnectionAcceptor();
  ConnectionAcceptor(const ConnectionAcceptor&) = delete;
  ConnectionAcceptor& operator=(const ConnectionAcceptor&) = delete;

  int port() const { return port_; }
  // Where it listens, port included.
  const std::vector<sockaddr_storage>& addresses() const { return addresses_; }

  // Closes the listening sockets; when this returns, no socket is handed over any more. Connections that are open
  // go on, and their ends are still seen. May be called again.
  void StopAccepting();

 private:
  using Time = Connection::Time;

  void Run();
  void Obey();
  void AcceptSome(int listener);
  void Accepted(FileDescriptor socket, const sockaddr_storage& address);
  void ShedOne(int listener);
  void Refuse(FileDescriptor socket, absl::string_view reason, const std::string& from);
  void Ended(uint64_t id);
  void CloseListeners();

  const int port_;
  const std::vector<sockaddr_storage> addresses_;
  ConnectionTable* const table_;
  Metrics* const metrics_;
  const HandOver hand_over_;
  FileDescriptor epoll_;
  FileDescriptor wake_;   // an eventfd
  FileDescriptor spare_;  // given up to accept, and so refuse, a connection when there are no descriptors left

  // Of the thread.
  std::vector<FileDescriptor> listeners_;
  std::unordered_map<uint64_t, std::shared_ptr<Connection>> connections_;
  uint64_t next_id_;
  struct Refusals {
    int64_t count = 0;
    Time logged = Time::min();
  };
  std::map<std::string, Refusals> refusals_;  // since the last log line, by reason

  std::mutex mutex_;
  std::condition_variable accepting_stopped_;
  bool stop_accepting_ = false;  // guarded by mutex_
  bool stop_ = false;            // guarded by mutex_
  bool accepting_ = true;        // guarded by mutex_

  std::thread thread_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONNECTIONS_CONNECTION_ACCEPTOR_H_
