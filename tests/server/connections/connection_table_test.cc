#include "server/connections/connection_table.h"

#include <sys/socket.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using Time = ConnectionTable::Time;
constexpr Time kStart{};

PeerAddress Peer(int host, int port) { return *PeerFromGrpc(absl::StrCat("ipv4:10.0.0.", host, ":", port)); }

std::shared_ptr<Connection> Admitted(ConnectionTable& table, const PeerAddress& peer) {
  auto decision = table.Admit(peer, kStart);
  auto* connection = std::get_if<std::shared_ptr<Connection>>(&decision);
  return connection == nullptr ? nullptr : *connection;
}

// Would catch either limit off by one, a refused connection that is counted, and room that is not given back.
TEST(ConnectionTable, LimitsTheTotalAndEachAddress) {
  ConnectionTable table({.connections = 5, .connections_per_address = 3});
  std::vector<std::shared_ptr<Connection>> first;
  for (int port = 1; port <= 3; ++port) first.push_back(Admitted(table, Peer(1, port)));
  for (const auto& connection : first) ASSERT_NE(connection, nullptr);
  EXPECT_EQ(std::get<ConnectionRefusal>(table.Admit(Peer(1, 4), kStart)), ConnectionRefusal::kTooManyFromAddress);
  EXPECT_NE(Admitted(table, Peer(2, 1)), nullptr);
  EXPECT_NE(Admitted(table, Peer(2, 2)), nullptr);
  EXPECT_EQ(std::get<ConnectionRefusal>(table.Admit(Peer(3, 1), kStart)), ConnectionRefusal::kTooMany);
  EXPECT_EQ(table.size(), 5);
  table.Remove(first[0]);
  EXPECT_EQ(table.size(), 4);
  EXPECT_NE(Admitted(table, Peer(1, 5)), nullptr);
  EXPECT_EQ(table.size(), 5);
}

// Would catch one client that takes all the connections of a process with few descriptors.
TEST(ConnectionTable, ALoweredLimitLeavesRoomForOthers) {
  ConnectionTable table({.connections = 1'024, .connections_per_address = 64});
  table.LowerLimit(500);
  EXPECT_EQ(table.limits().connections, 500);
  EXPECT_EQ(table.limits().connections_per_address, 64);
  table.LowerLimit(2'000);
  EXPECT_EQ(table.limits().connections, 500);
  table.LowerLimit(10);
  EXPECT_EQ(table.limits().connections_per_address, 5);
  table.LowerLimit(1);
  EXPECT_EQ(table.limits().connections, 1);
  EXPECT_EQ(table.limits().connections_per_address, 1);
}

// Would catch a self-probe that a full table turns away, which would end a process that is merely busy.
TEST(ConnectionTable, TheProbeIsAlwaysAdmittedAndNotCounted) {
  ConnectionTable table({.connections = 1, .connections_per_address = 1});
  ASSERT_NE(Admitted(table, Peer(1, 1)), nullptr);
  table.Expect(Peer(1, 2));
  const auto probe = Admitted(table, Peer(1, 2));
  ASSERT_NE(probe, nullptr);
  EXPECT_EQ(table.size(), 1);
  table.StopExpecting(Peer(1, 2));
  EXPECT_EQ(Admitted(table, Peer(1, 2)), nullptr);
  table.Remove(probe);
  EXPECT_EQ(table.size(), 1);
}

// Would catch the end of an old connection that makes the new one of the same port unknown.
TEST(ConnectionTable, FindsTheYoungestOfAPeer) {
  ConnectionTable table{ConnectionLimits()};
  const auto older = Admitted(table, Peer(1, 7));
  const auto younger = Admitted(table, Peer(1, 7));
  EXPECT_EQ(table.Find("ipv4:10.0.0.1:7").connection, younger);
  table.Remove(older);
  EXPECT_EQ(table.Find("ipv4:10.0.0.1:7").connection, younger);
  table.Remove(younger);
  EXPECT_EQ(table.size(), 0);
  EXPECT_TRUE(table.Find("ipv4:10.0.0.1:7").ended);
}

// Would catch work done for callers that are gone, and calls within the process refused.
TEST(ConnectionTable, CallsWithoutAConnectionMayNotWorkExceptWithinTheProcess) {
  ConnectionTable table{ConnectionLimits()};
  EXPECT_TRUE(table.MayWork("inproc"));
  EXPECT_FALSE(table.MayWork("ipv4:10.0.0.1:7"));
  const auto connection = Admitted(table, Peer(1, 7));
  EXPECT_TRUE(table.MayWork("ipv4:10.0.0.1:7"));
}

TEST(Connection, CallsInFlightAreLimited) {
  Connection connection(Peer(1, 1), true, {.calls_in_flight = 2}, kStart);
  connection.CallStarted();
  connection.CallStarted();
  EXPECT_TRUE(connection.MayWork());
  connection.CallStarted();
  EXPECT_FALSE(connection.MayWork());
  connection.CallEnded(false, kStart);
  EXPECT_TRUE(connection.MayWork());
}

// Would catch a flood of resets that is only seen when it is over: no call of it ends before all have begun.
TEST(Connection, MoreCallsInFlightThanStreamsAllowAbortIt) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  FileDescriptor ours(pair[0]);
  Connection connection(Peer(1, 1), true, {.calls_in_flight = 2, .calls_in_flight_of_a_flood = 4}, kStart);
  connection.Attach(FileDescriptor(pair[1]));
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(connection.CallStarted());
  EXPECT_TRUE(connection.CallStarted());
  EXPECT_FALSE(connection.CallStarted());  // said once only
  char byte;
  EXPECT_EQ(recv(ours.get(), &byte, 1, 0), 0);
}

// Would catch answered calls charged to the bucket: thousands a second are honest.
TEST(Connection, OnlyCancelledCallsAbortIt) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  FileDescriptor ours(pair[0]);
  Connection connection(Peer(1, 1), true, {.cancelled_burst = 3, .cancelled_per_second = 1}, kStart);
  connection.Attach(FileDescriptor(pair[1]));
  const auto call = [&](bool cancelled) {
    connection.CallStarted();
    return connection.CallEnded(cancelled, kStart);
  };
  for (int i = 0; i < 10'000; ++i) ASSERT_FALSE(call(false));
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(call(true));
  EXPECT_TRUE(connection.MayWork());
  EXPECT_TRUE(call(true));
  EXPECT_FALSE(connection.MayWork());
  char byte;
  EXPECT_EQ(recv(ours.get(), &byte, 1, 0), 0);  // shut down
  EXPECT_FALSE(call(true));                     // said once only
}

// Would catch calls that broke with their connection reported as an attack.
TEST(Connection, AConnectionThatEndedIsNotAborted) {
  Connection connection(Peer(1, 1), true, {.cancelled_burst = 0, .cancelled_per_second = 0}, kStart);
  connection.CallStarted();
  EXPECT_FALSE(connection.CallEnded(true, kStart));
}

}  // namespace
}  // namespace gradoracle
