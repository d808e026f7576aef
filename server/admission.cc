#include "server/admission.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/errors.h"
#include "core/query_policy.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr char kAnonymous[] = "anonymous";

absl::Status Draining();
absl::Status CheckRange(int64_t first_gradient, int64_t count);

}  // namespace

double AnswerBytes(const GradientQuery& query, const OracleInfo& info) {
  constexpr double kChunkBytes = 262144;
  const double n = static_cast<double>(query.batch_size);
  const double row_bytes = sizeof(double) * static_cast<double>(query.weights.size());
  const double permutation =
      info.sampling == Sampling::kIid ? 0 : sizeof(uint32_t) * static_cast<double>(info.row_count);
  return 4 * std::max(kChunkBytes, row_bytes) + 28 * n + permutation;
}

struct AdmittedQuery::Request {
  explicit Request(const std::string& digest_of_query) : digest(digest_of_query) {}
  const std::string digest;
  std::mutex mutex;
  int64_t charged = 0;  // gradients [0, charged) are paid for; guarded by mutex
};

AdmittedQuery::AdmittedQuery(Admission* admission, std::string principal, const GradientQuery& query,
                             const RequestKey& key, std::shared_ptr<Request> request, double bytes)
    : admission_(admission),
      principal_(std::move(principal)),
      query_(query),
      key_(key),
      request_(std::move(request)),
      bytes_(bytes) {}

AdmittedQuery::~AdmittedQuery() {
  WipeKey(key_);
  admission_->Leave(bytes_);
}

absl::Status AdmittedQuery::Charge(int64_t first, int64_t count) {
  if (admission_->terminated_) return Draining();
  const std::lock_guard<std::mutex> lock(request_->mutex);
  const int64_t cost = std::max<int64_t>(0, first + count - request_->charged);
  request_->charged += cost;
  admission_->gradients_charged_ += cost;
  return absl::OkStatus();
}

Admission::Admission(const OracleInfo& info, const ProcessSecret& secret, const AdmissionOptions& options)
    : info_(info), secret_(secret), options_(options) {}

Admission::~Admission() = default;

absl::StatusOr<std::string> Admission::Identify(absl::string_view /*authorization*/) const {
  if (draining_) return Draining();
  return std::string(kAnonymous);
}

absl::StatusOr<std::unique_ptr<AdmittedQuery>> Admission::Admit(absl::string_view principal, const GradientQuery& query,
                                                                int64_t first_gradient) {
  if (draining_) return Draining();
  GRADORACLE_RETURN_IF_ERROR(ValidateQuery(query, info_));
  GRADORACLE_RETURN_IF_ERROR(CheckRange(first_gradient, query.count));
  const std::string digest = QueryDigest(query, info_);
  GRADORACLE_ASSIGN_OR_RETURN(const RequestKey key, secret_.DeriveRequestKey(principal, query.request_id, digest));
  const double bytes = AnswerBytes(query, info_);
  GRADORACLE_RETURN_IF_ERROR(Enter(bytes));
  auto request = Remember({std::string(principal), query.request_id}, digest, first_gradient);
  if (!request.ok()) {
    Leave(bytes);
    return request.status();
  }
  return std::unique_ptr<AdmittedQuery>(
      new AdmittedQuery(this, std::string(principal), query, key, *std::move(request), bytes));
}

void Admission::StartDraining() { draining_ = true; }

void Admission::Terminate() {
  draining_ = true;
  terminated_ = true;
}

bool Admission::AwaitIdle(absl::Time deadline) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return idle_.wait_until(lock, absl::ToChronoTime(deadline), [this] { return in_flight_ == 0; });
}

int64_t Admission::queries_in_flight() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return in_flight_;
}

absl::StatusOr<std::shared_ptr<AdmittedQuery::Request>> Admission::Remember(const RequestName& name,
                                                                            const std::string& digest,
                                                                            int64_t first_gradient) {
  const std::string& request_id = name.second;
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto known = request_id.empty() ? requests_.end() : requests_.find(name);
  if (known != requests_.end()) {
    if (known->second->digest == digest) {
      GRADORACLE_RETURN_IF_ERROR(CheckResumption(*known->second, first_gradient));
      return known->second;
    }
    return MakeError(
        absl::StatusCode::kAlreadyExists, "REQUEST_ID_REUSED", "request_id",
        absl::StrCat("request_id '", request_id,
                     "' names an earlier request with other content; a new request needs a new request_id"));
  }
  if (first_gradient > 0) {
    return MakeError(absl::StatusCode::kAlreadyExists, "REQUEST_LOST", "request_id",
                     absl::StrCat("request_id '", request_id, "' cannot resume at first_gradient ", first_gradient,
                                  ": this server process has not begun to answer it (charged, unanswered); "
                                  "start a new request with a new request_id"));
  }
  auto request = std::make_shared<AdmittedQuery::Request>(digest);
  if (request_id.empty()) return request;
  requests_.emplace(name, request);
  oldest_.push_back(name);
  if (oldest_.size() > options_.max_remembered_requests) {
    requests_.erase(oldest_.front());
    oldest_.pop_front();
  }
  return request;
}

// What was never charged was never sent: a resumption beyond it would be charged for gradients that nobody gets.
absl::Status Admission::CheckResumption(AdmittedQuery::Request& request, int64_t first_gradient) {
  const std::lock_guard<std::mutex> lock(request.mutex);
  if (first_gradient <= request.charged) return absl::OkStatus();
  return FieldOutOfRange("FIRST_GRADIENT", "first_gradient",
                         absl::StrCat("first_gradient is ", first_gradient, ", but only ", request.charged,
                                      " gradients of this request have been sent; resume at the first one missing"));
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

absl::Status CheckRange(int64_t first_gradient, int64_t count) {
  if (first_gradient >= 0 && first_gradient < count) return absl::OkStatus();
  return FieldOutOfRange(
      "FIRST_GRADIENT", "first_gradient",
      absl::StrCat("first_gradient is ", first_gradient, ", must be at least 0 and less than count, ", count));
}

}  // namespace
}  // namespace gradoracle
