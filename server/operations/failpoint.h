#ifndef GRADORACLE_SERVER_OPERATIONS_FAILPOINT_H_
#define GRADORACLE_SERVER_OPERATIONS_FAILPOINT_H_

namespace gradoracle {

// Marks a place at which a crash must do no harm. Does nothing. The kill tests link a definition of their own in its
// stead (tests/integration/failpoint_server.cc), which ends the process there; none of that is in a shipped program.
//   before_charge  a group of charges was taken from the queue
//   before_commit  its transaction is written, not committed
//   after_commit   committed and synced by the database
//   after_sync     in the audit log too; nobody has been told
//   after_sample   gradients were computed, not sent
//   mid_reply      a piece of a stream was sent, others will follow
void ReachFailpoint(const char* name);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_OPERATIONS_FAILPOINT_H_
