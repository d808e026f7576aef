#ifndef GRADORACLE_SERVER_ADMISSION_H_
#define GRADORACLE_SERVER_ADMISSION_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/gradient_source.h"
#include "core/oracle_info.h"
#include "core/random_stream.h"

// Who asks, are they allowed to, and what does it cost: the one place of the server where identity, policy and ledger
// sit. Today everybody is "anonymous" and the ledger is a counter; what is here for good is the order of the checks,
// the rules about request ids, and that every gradient is charged before it is computed.
namespace gradoracle {

struct AdmissionOptions {
  // Queries being answered at once, over all connections; further ones get RESOURCE_EXHAUSTED.
  int max_concurrent_queries = 256;
  // Bytes that their answers hold at once (AnswerBytes); further ones get RESOURCE_EXHAUSTED, but a query alone is
  // always answered, however large.
  double max_answer_bytes = 1073741824;
  // Named requests remembered. Forgetting the oldest loses two courtesies for it, no safety: a reuse of its id with
  // other content is no longer noticed (the key depends on the content, so noise is never shared), and it can no longer
  // resume (the answer is ALREADY_EXISTS REQUEST_LOST).
  size_t max_remembered_requests = 65'536;
};

// Memory of one answer: two chunks (256 KiB, or one gradient) held twice, as a message and in gRPC; rows and noise of
// one batch, 28 n bytes; a permutation of the N rows, 4 N bytes, for the samplings that draw without replacement.
double AnswerBytes(const GradientQuery& query, const OracleInfo& info);

class Admission;

// A query that may be answered. Holds its place among the concurrent queries until destroyed. Charge may be called from
// any one thread at a time.
class AdmittedQuery {
 public:
  ~AdmittedQuery();
  AdmittedQuery(const AdmittedQuery&) = delete;
  AdmittedQuery& operator=(const AdmittedQuery&) = delete;

  const GradientQuery& query() const { return query_; }
  const RequestKey& key() const { return key_; }
  const std::string& principal() const { return principal_; }

  // Must succeed before gradients [first, first + count) are computed; may block. What the same named request has been
  // charged for already, in this or an earlier call, is free. Errors: kUnavailable DRAINING once the server has given
  // up waiting for calls in flight.
  absl::Status Charge(int64_t first, int64_t count);

 private:
  friend class Admission;
  struct Request;  // what is remembered of a request
  AdmittedQuery(Admission* admission, std::string principal, const GradientQuery& query, const RequestKey& key,
                std::shared_ptr<Request> request, double bytes);

  Admission* const admission_;
  const std::string principal_;
  const GradientQuery query_;
  RequestKey key_;
  const std::shared_ptr<Request> request_;
  const double bytes_;
};

// Thread-safe. Outlives every AdmittedQuery.
class Admission {
 public:
  Admission(const OracleInfo& info, const ProcessSecret& secret, const AdmissionOptions& options);
  ~Admission();

  // The caller of an RPC, from its `authorization` metadata (empty: none given): "anonymous" for now. Errors:
  // kUnavailable DRAINING once StartDraining was called.
  absl::StatusOr<std::string> Identify(absl::string_view authorization) const;

  // May `principal` have gradients [first_gradient, count) of `query`? Checks, in this order: draining, ValidateQuery,
  // the range, the request id, the number of concurrent queries. Errors, beyond ValidateQuery's:
  //   kUnavailable        DRAINING
  //   kOutOfRange         FIRST_GRADIENT (first_gradient >= count, or beyond what the request has been charged for:
  //                       what was never sent cannot have arrived), field first_gradient
  //   kAlreadyExists      REQUEST_ID_REUSED (same id, other content), field request_id
  //   kAlreadyExists      REQUEST_LOST (first_gradient > 0 of a request that this process has not begun: charged,
  //                       unanswered), field request_id
  //   kResourceExhausted  TOO_MANY_QUERIES (their number, or their memory)
  absl::StatusOr<std::unique_ptr<AdmittedQuery>> Admit(absl::string_view principal, const GradientQuery& query,
                                                       int64_t first_gradient);

  // From now on new calls are refused; those in flight go on.
  void StartDraining();
  // From now on calls in flight are refused their next charge, and so end with UNAVAILABLE.
  void Terminate();
  // Waits until nothing is in flight; false when `deadline` came first.
  bool AwaitIdle(absl::Time deadline) const;

  int64_t queries_in_flight() const;
  // All gradients ever charged. (The ledger of a later issue replaces this.)
  int64_t gradients_charged() const { return gradients_charged_.load(); }

 private:
  friend class AdmittedQuery;
  using RequestName = std::pair<std::string, std::string>;  // principal, request id

  absl::StatusOr<std::shared_ptr<AdmittedQuery::Request>> Remember(const RequestName& name, const std::string& digest,
                                                                   int64_t first_gradient);
  static absl::Status CheckResumption(AdmittedQuery::Request& request, int64_t first_gradient);
  absl::Status Enter(double bytes);
  void Leave(double bytes);

  const OracleInfo info_;
  const ProcessSecret secret_;
  const AdmissionOptions options_;
  std::atomic<bool> draining_{false};
  std::atomic<bool> terminated_{false};
  std::atomic<int64_t> gradients_charged_{0};

  mutable std::mutex mutex_;
  mutable std::condition_variable idle_;
  int64_t in_flight_ = 0;                                                    // guarded by mutex_
  double answer_bytes_ = 0;                                                  // of those in flight, guarded by mutex_
  std::map<RequestName, std::shared_ptr<AdmittedQuery::Request>> requests_;  // guarded by mutex_
  std::deque<RequestName> oldest_;                                           // of requests_, guarded by mutex_
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_ADMISSION_H_
