#ifndef GRADORACLE_SERVER_CONNECTIONS_CONNECTION_TABLE_H_
#define GRADORACLE_SERVER_CONNECTIONS_CONNECTION_TABLE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <variant>

#include "absl/strings/string_view.h"
#include "server/connections/connection.h"
#include "server/connections/peer_address.h"

namespace gradoracle {

struct ConnectionLimits {
  int64_t connections = 1'024;
  int64_t connections_per_address = 64;  // an IPv6 address counts as its /64
  CallLimits calls = {};
};

// Why a connection is refused.
enum class ConnectionRefusal { kTooMany, kTooManyFromAddress };

// The connections that are open, and how many more may be. Thread-safe.
class ConnectionTable {
 public:
  using Time = Connection::Time;
  explicit ConnectionTable(const ConnectionLimits& limits) : limits_(limits) {}

  // Fewer connections than were set: the process may not have enough descriptors for them. Half of them at most are for
  // one address, so that no single address shuts the others out. Call before the first Admit.
  void LowerLimit(int64_t connections);
  ConnectionLimits limits() const;

  // Enters a connection unless a limit is reached.
  std::variant<std::shared_ptr<Connection>, ConnectionRefusal> Admit(const PeerAddress& peer, Time now);
  // Takes it out; once for each one that was admitted.
  void Remove(const std::shared_ptr<Connection>& connection);

  // The next connection from exactly this address and port is the server's own probe: always admitted, not counted.
  void Expect(const PeerAddress& probe);
  void StopExpecting(const PeerAddress& probe);

  // The connection a gRPC call came by, given its ServerContext's peer(). Null for a call within the process, and for
  // one whose connection has ended, in which case `ended` is true.
  struct Found {
    std::shared_ptr<Connection> connection;
    bool ended = false;
  };
  Found Find(absl::string_view grpc_peer) const;
  // Whether the call may do any work (Connection::MayWork); one within the process may, one without connection not.
  bool MayWork(absl::string_view grpc_peer) const;

  int64_t size() const;  // counted ones

 private:
  mutable std::mutex mutex_;
  ConnectionLimits limits_;                       // guarded by mutex_
  int64_t size_ = 0;                              // guarded by mutex_
  std::map<PeerAddress::Ip, int64_t> per_block_;  // guarded by mutex_; no zeros
  std::map<PeerAddress, int64_t> expected_;       // guarded by mutex_; no zeros
  // Guarded by mutex_. Two connections can have the same peer for a moment (a port used again at once, two local
  // addresses): the younger is found.
  std::map<PeerAddress, std::shared_ptr<Connection>> by_peer_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONNECTIONS_CONNECTION_TABLE_H_
