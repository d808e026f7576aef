#ifndef GRADORACLE_SERVER_ADMISSION_ADMISSION_H_
#define GRADORACLE_SERVER_ADMISSION_ADMISSION_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/budget.h"
#include "core/gradient_source.h"
#include "core/oracle_info.h"
#include "core/random_stream.h"
#include "server/identity/authenticator.h"
#include "server/ledger/ledger.h"

// Who asks, are they allowed to, and what does it cost: the one place of the server where identity, policy and ledger
// meet.
namespace gradoracle {

struct AdmissionOptions {
  // Queries being answered at once, over all connections; further ones get RESOURCE_EXHAUSTED.
  int max_concurrent_queries = 256;
  // Bytes that their answers hold at once (AnswerBytes); further ones get RESOURCE_EXHAUSTED, but a query alone is
  // always answered, however large.
  double max_answer_bytes = 1073741824;
  // Who callers are; must outlive the admission. nullptr: everybody is "anonymous".
  const Authenticator* authenticator = nullptr;
  // The budget of a principal that the ledger does not know yet; nullopt: it has none, and will be refused.
  std::optional<Budget> newcomers = Budget();
  // The defences in force, published or not: of which the grid of weights is kept here.
  DefencePolicy defence = {};
  // No budget is told to be above it: the ledger's limit for all callers together (ChargeRules::curvature_floor).
  std::optional<int64_t> curvature_floor = {};
};

// Memory of one answer: two chunks (256 KiB, or one gradient) held twice, as a message and in gRPC; rows and noise of
// one batch, 28 n bytes; a permutation of the N rows, 4 N bytes, for the samplings that draw without replacement.
double AnswerBytes(const GradientQuery& query, const OracleInfo& info);

class Admission;

// A query that may be answered. Holds its place among the concurrent queries until destroyed. Not thread-safe, but for
// what the ledger does meanwhile.
class AdmittedQuery {
 public:
  ~AdmittedQuery();
  AdmittedQuery(const AdmittedQuery&) = delete;
  AdmittedQuery& operator=(const AdmittedQuery&) = delete;

  // What is to be answered: the query asked, on the grid of weights where there is one.
  const GradientQuery& query() const { return query_; }
  const RequestKey& key() const { return key_; }
  const std::string& principal() const { return principal_; }

  // Must succeed before gradients [first, first + count) are computed: charges them, and calls `done` once that is
  // durable, from a thread of the ledger or, when refused at once, from this one. One after the other: the next charge
  // follows the `done` of the last, at the gradient where that ended; the first begins the request, or resumes it.
  // What the same named request has been charged for already, in this or an earlier call, is free.
  // Errors: Ledger::Charge's; kUnavailable DRAINING once the server has given up waiting for calls in flight.
  void Charge(int64_t first, int64_t count, Ledger::Done done);

 private:
  friend class Admission;
  AdmittedQuery(Admission* admission, std::string principal, const GradientQuery& query, std::string digest,
                const RequestKey& key, double bytes, int64_t participations);

  Admission* const admission_;
  const std::string principal_;
  const GradientQuery query_;
  const std::string digest_;
  RequestKey key_;
  const double bytes_;
  const int64_t participations_;
  bool begun_ = false;
};

// Thread-safe. Outlives every AdmittedQuery.
class Admission {
 public:
  // `ledger` outlives the admission.
  Admission(const OracleInfo& info, const ProcessSecret& secret, Ledger* ledger, const AdmissionOptions& options);
  ~Admission();

  // The caller of an RPC. First thing in every handler: nothing is looked at, and no ledger asked, for somebody
  // unknown. Errors: kUnavailable DRAINING once StartDraining was called; those of Authenticator::Identify.
  absl::StatusOr<std::string> Identify(const CallerCredentials& caller) const;

  // What `principal` may spend and has spent. Waits for the ledger. Errors: kPermissionDenied NO_ACCOUNT,
  // ACCOUNT_REVOKED; kUnavailable LEDGER_UNAVAILABLE.
  absl::StatusOr<Budget> FindBudget(absl::string_view principal) const;

  // May `principal` ask for gradients [first_gradient, count) of `query`? Puts it on the grid of weights, then checks,
  // in this order: draining, ValidateQuery, the range, the number of concurrent queries. Whether the request id is free
  // or may be resumed, and whether the budget pays, says the ledger with the first charge. Errors, beyond
  // ValidateQuery's:
  //   kUnavailable        DRAINING
  //   kOutOfRange         FIRST_GRADIENT (first_gradient >= count), field first_gradient
  //   kResourceExhausted  TOO_MANY_QUERIES (their number, or their memory)
  absl::StatusOr<std::unique_ptr<AdmittedQuery>> Admit(absl::string_view principal, const GradientQuery& query,
                                                       int64_t first_gradient);

  // What callers are told, the limits in force included.
  std::shared_ptr<const OracleInfo> info() const;
  // From now on queries are held to these limits; those in flight go on.
  void SetLimits(const QueryLimits& limits);

  // From now on new calls are refused; those in flight go on.
  void StartDraining();
  // From now on calls in flight are refused their next charge, and so end with UNAVAILABLE.
  void Terminate();
  // Waits until nothing is in flight; false when `deadline` came first.
  bool AwaitIdle(absl::Time deadline) const;

  int64_t queries_in_flight() const;

 private:
  friend class AdmittedQuery;
  absl::Status Enter(double bytes);
  void Leave(double bytes);

  const ProcessSecret secret_;
  Ledger* const ledger_;
  const AdmissionOptions options_;
  std::atomic<bool> draining_{false};
  std::atomic<bool> terminated_{false};

  mutable std::mutex mutex_;
  mutable std::condition_variable idle_;
  std::shared_ptr<const OracleInfo> info_;  // guarded by mutex_
  int64_t in_flight_ = 0;                   // guarded by mutex_
  double answer_bytes_ = 0;                 // of those in flight, guarded by mutex_
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_ADMISSION_ADMISSION_H_
