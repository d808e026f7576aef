#ifndef GRADORACLE_CLIENT_CONNECTION_H_
#define GRADORACLE_CLIENT_CONNECTION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "client/oracle_client.h"
#include "grpcpp/grpcpp.h"

// What is below OracleClient: channels. Not installed.
namespace gradoracle {

// Opens a channel to the oracle with the given settings: TCP in life, in-process or through a cutting proxy in tests.
using ChannelFactory = std::function<std::shared_ptr<grpc::Channel>(const grpc::ChannelArguments&)>;

// An OracleClient over other channels; `target` is its name in messages, `authorization` the header it sends with every
// call (empty: none).
std::unique_ptr<OracleClient> NewOracleClient(const std::string& target, ChannelFactory open_channel,
                                              const OracleClientOptions& options,
                                              const std::string& authorization = "");

// Settings of every channel: retries of UNAVAILABLE by service config (unary calls; streams are resumed instead),
// fail-fast, keepalive, prompt reconnection, a connection of its own, and the largest message taken.
grpc::ChannelArguments ConnectionArguments(int64_t max_receive_bytes);

// Largest message of an oracle of dimension d: a chunk of 256 KiB, or one gradient, and slack.
int64_t MaxReceiveBytes(int64_t dimension);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CONNECTION_H_
