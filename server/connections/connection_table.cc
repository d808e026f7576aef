#include "server/connections/connection_table.h"

#include <algorithm>
#include <optional>

namespace gradoracle {

void ConnectionTable::LowerLimit(int64_t connections) {
  const std::lock_guard<std::mutex> lock(mutex_);
  limits_.connections = std::min(limits_.connections, connections);
  limits_.connections_per_address =
      std::min(limits_.connections_per_address, std::max<int64_t>(1, limits_.connections / 2));
}

ConnectionLimits ConnectionTable::limits() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return limits_;
}

std::variant<std::shared_ptr<Connection>, ConnectionRefusal> ConnectionTable::Admit(const PeerAddress& peer, Time now) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const bool counted = !expected_.contains(peer);
  if (counted) {
    if (size_ >= limits_.connections) return ConnectionRefusal::kTooMany;
    int64_t& of_block = per_block_[peer.Block()];
    if (of_block >= limits_.connections_per_address) return ConnectionRefusal::kTooManyFromAddress;
    ++of_block;
    ++size_;
  }
  auto connection = std::make_shared<Connection>(peer, counted, limits_.calls, now);
  by_peer_[peer] = connection;
  return connection;
}

void ConnectionTable::Remove(const std::shared_ptr<Connection>& connection) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = by_peer_.find(connection->peer());
  if (found != by_peer_.end() && found->second == connection) by_peer_.erase(found);
  if (!connection->counted()) return;
  --size_;
  const auto block = per_block_.find(connection->peer().Block());
  if (--block->second == 0) per_block_.erase(block);
}

void ConnectionTable::Expect(const PeerAddress& probe) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++expected_[probe];
}

void ConnectionTable::StopExpecting(const PeerAddress& probe) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = expected_.find(probe);
  if (--found->second == 0) expected_.erase(found);
}

ConnectionTable::Found ConnectionTable::Find(absl::string_view grpc_peer) const {
  const std::optional<PeerAddress> peer = PeerFromGrpc(grpc_peer);
  if (!peer.has_value()) return {};
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = by_peer_.find(*peer);
  if (found == by_peer_.end()) return {.connection = nullptr, .ended = true};
  return {.connection = found->second, .ended = false};
}

bool ConnectionTable::MayWork(absl::string_view grpc_peer) const {
  const Found found = Find(grpc_peer);
  return found.connection == nullptr ? !found.ended : found.connection->MayWork();
}

int64_t ConnectionTable::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return size_;
}

}  // namespace gradoracle
