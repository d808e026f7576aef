#ifndef GRADORACLE_SERVER_OWNER_ADMIN_MESSAGES_H_
#define GRADORACLE_SERVER_OWNER_ADMIN_MESSAGES_H_

#include "gradoracle/v1/admin.pb.h"
#include "server/owner/owner_ledger.h"

// Messages of the admin socket and what they stand for. Mechanical; times are carried to the second.
namespace gradoracle {

v1::Limit ToMessage(const Limit& limit);
Limit FromMessage(const v1::Limit& limit);

v1::Token ToMessage(const StoredToken& token);  // without sha256
StoredToken FromMessage(const v1::Token& token);

v1::ListTokensResponse ToMessage(const Holdings& holdings);
Holdings FromMessage(const v1::ListTokensResponse& response);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OWNER_ADMIN_MESSAGES_H_
