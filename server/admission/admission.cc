#include "server/admission/admission.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/defence/participation.h"
#include "core/defence/weights_grid.h"
#include "core/errors.h"
#include "core/query_policy.h"
#include "core/status_macros.h"
#include "server/identity/principal.h"

namespace gradoracle {
namespace {

constexpr absl::Duration kLongestWait = absl::Hours(24 * 365);  // "for ever" would overflow the clock

absl::Status Draining();
absl::Status CheckRange(int64_t first_gradient, int64_t count);
Budget Told(Budget budget, std::optional<int64_t> curvature_floor);

}  // namespace

double AnswerBytes(const GradientQuery& query, const OracleInfo& info) {
  constexpr double kChunkBytes = 262144;
  const double n = static_cast<double>(query.batch_size);
  const double row_bytes = sizeof(double) * static_cast<double>(query.weights.size());
  const double rows = static_cast<double>(info.row_count);
  const double permutation = info.sampling == Sampling::kIid       ? 0
                             : info.sampling == Sampling::kPoisson ? (sizeof(uint64_t) + sizeof(uint32_t)) * rows
                                                                   : sizeof(uint32_t) * rows;
  return 4 * std::max(kChunkBytes, row_bytes) + 28 * n + permutation;
}

AdmittedQuery::AdmittedQuery(Admission* admission, std::string principal, const GradientQuery& query,
                             std::string digest, const RequestKey& key, double bytes, int64_t participations)
    : admission_(admission),
      principal_(std::move(principal)),
      query_(query),
      digest_(std::move(digest)),
      key_(key),
      bytes_(bytes),
      participations_(participations) {}

AdmittedQuery::~AdmittedQuery() {
  WipeKey(key_);
  admission_->Leave(bytes_);
}

void AdmittedQuery::Charge(int64_t first, int64_t count, Ledger::Done done) {
  if (admission_->terminated_) return done(Draining());
  const bool begins = !std::exchange(begun_, true);
  admission_->ledger_->Charge(
      {principal_, query_.request_id, digest_, first, count, begins, query_.count, begins ? participations_ : 0},
      std::move(done));
}

Admission::Admission(const OracleInfo& info, const ProcessSecret& secret, Ledger* ledger,
                     const AdmissionOptions& options)
    : secret_(secret), ledger_(ledger), options_(options), info_(std::make_shared<const OracleInfo>(info)) {}

Admission::~Admission() = default;

absl::StatusOr<std::string> Admission::Identify(const CallerCredentials& caller) const {
  if (draining_) return Draining();
  if (options_.authenticator == nullptr) return std::string(kAnonymous);
  return options_.authenticator->Identify(caller);
}

absl::StatusOr<Budget> Admission::FindBudget(absl::string_view principal) const {
  const absl::StatusOr<Account> account = ledger_->FindAccount(principal);
  if (account.ok() && account->revoked) {
    return MakeError(absl::StatusCode::kPermissionDenied, "ACCOUNT_REVOKED", "",
                     "the owner of the oracle has revoked this account");
  }
  if (account.ok()) return Told({account->limit, account->spent}, options_.curvature_floor);
  if (ErrorReason(account.status()) != "NO_ACCOUNT") return account.status();
  if (options_.newcomers.has_value()) return Told(*options_.newcomers, options_.curvature_floor);
  return MakeError(absl::StatusCode::kPermissionDenied, "NO_ACCOUNT", "",
                   "you have no budget here yet; the owner of the oracle grants it");
}

absl::StatusOr<std::unique_ptr<AdmittedQuery>> Admission::Admit(absl::string_view principal, const GradientQuery& asked,
                                                                int64_t first_gradient) {
  if (draining_) return Draining();
  const std::shared_ptr<const OracleInfo> info = this->info();
  const GradientQuery query = OnWeightsGrid(asked, options_.defence.weights_grid);
  GRADORACLE_RETURN_IF_ERROR(ValidateQuery(query, *info));
  GRADORACLE_RETURN_IF_ERROR(CheckRange(first_gradient, query.count));
  const std::string digest = QueryDigest(query, *info);
  GRADORACLE_ASSIGN_OR_RETURN(const RequestKey key,
                              options_.defence.weights_grid.has_value()
                                  ? StickyKey(secret_, query, *info)
                                  : secret_.DeriveRequestKey(principal, query.request_id, digest));
  const int64_t participations = LargestParticipation(info->sampling, info->row_count, query.batch_size, query.count);
  const double bytes = AnswerBytes(query, *info);
  GRADORACLE_RETURN_IF_ERROR(Enter(bytes));
  return std::unique_ptr<AdmittedQuery>(
      new AdmittedQuery(this, std::string(principal), query, digest, key, bytes, participations));
}

std::shared_ptr<const OracleInfo> Admission::info() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return info_;
}

void Admission::SetLimits(const QueryLimits& limits) {
  auto info = std::make_shared<OracleInfo>(*this->info());
  info->limits = limits;
  const std::lock_guard<std::mutex> lock(mutex_);
  info_ = std::move(info);
}

void Admission::StartDraining() { draining_ = true; }

void Admission::Terminate() {
  draining_ = true;
  terminated_ = true;
}

// The time left is fixed at the beginning: whoever sets the clock meanwhile neither cuts the wait short nor prolongs
// it.
bool Admission::AwaitIdle(absl::Time deadline) const {
  const absl::Duration left = std::min(deadline - absl::Now(), kLongestWait);
  std::unique_lock<std::mutex> lock(mutex_);
  return idle_.wait_for(lock, absl::ToChronoMilliseconds(left), [this] { return in_flight_ == 0; });
}

int64_t Admission::queries_in_flight() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return in_flight_;
}

absl::Status Admission::Enter(double bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (in_flight_ >= options_.max_concurrent_queries) {
    return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_QUERIES", "",
                     absl::StrCat("the server answers at most ", options_.max_concurrent_queries,
                                  " queries at once; try again later"));
  }
  if (in_flight_ > 0 && answer_bytes_ + bytes > options_.max_answer_bytes) {
    return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_QUERIES", "",
                     "the answers under way take all the memory set aside for them; try again later, or with a smaller "
                     "batch_size");
  }
  ++in_flight_;
  answer_bytes_ += bytes;
  return absl::OkStatus();
}

void Admission::Leave(double bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  answer_bytes_ -= bytes;
  if (--in_flight_ == 0) {
    answer_bytes_ = 0;  // no rounding is carried along
    idle_.notify_all();
  }
}

namespace {

absl::Status Draining() {
  return MakeError(absl::StatusCode::kUnavailable, "DRAINING", "", "the server is shutting down; try again later");
}

// A budget without what no caller can have.
Budget Told(Budget budget, std::optional<int64_t> curvature_floor) {
  if (curvature_floor.has_value()) budget.limit = std::min(budget.limit.value_or(*curvature_floor), *curvature_floor);
  return budget;
}

absl::Status CheckRange(int64_t first_gradient, int64_t count) {
  if (first_gradient >= 0 && first_gradient < count) return absl::OkStatus();
  return FieldOutOfRange(
      "FIRST_GRADIENT", "first_gradient",
      absl::StrCat("first_gradient is ", first_gradient, ", must be at least 0 and less than count, ", count));
}

}  // namespace
}  // namespace gradoracle
