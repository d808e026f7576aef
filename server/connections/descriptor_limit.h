#ifndef GRADORACLE_SERVER_CONNECTIONS_DESCRIPTOR_LIMIT_H_
#define GRADORACLE_SERVER_CONNECTIONS_DESCRIPTOR_LIMIT_H_

#include <cstdint>

namespace gradoracle {

// Descriptors kept free of connections: for files, the ledger, the log, the admin port, and gRPC's own.
constexpr int64_t kSpareDescriptors = 64;

// Raises the soft limit of descriptors to the hard one; returns what is in force then.
int64_t RaiseDescriptorLimit();

// Descriptors this process has open now.
int64_t OpenDescriptors();

// Connections that fit `limit` descriptors beside those open now and the spare ones: each takes two. At least 1.
int64_t ConnectionsThatFit(int64_t limit, int64_t open);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONNECTIONS_DESCRIPTOR_LIMIT_H_
