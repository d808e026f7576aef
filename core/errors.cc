#include "core/errors.h"

#include <array>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gradoracle {
namespace {

constexpr absl::string_view kReasonPayload = "gradoracle/reason";
constexpr absl::string_view kFieldPayload = "gradoracle/field";
constexpr absl::string_view kQuotaPayload = "gradoracle/quota";  // the four numbers, separated by blanks

std::optional<std::string> Payload(const absl::Status& status, absl::string_view key) {
  const absl::optional<absl::Cord> payload = status.GetPayload(key);
  if (!payload.has_value()) return std::nullopt;
  return std::string(*payload);
}

}  // namespace

absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view field,
                       absl::string_view message) {
  absl::Status status(code, message);
  if (!reason.empty()) status.SetPayload(kReasonPayload, absl::Cord(reason));
  if (!field.empty()) status.SetPayload(kFieldPayload, absl::Cord(field));
  return status;
}

absl::Status InvalidField(absl::string_view reason, absl::string_view field, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, field, message);
}

absl::Status FieldOutOfRange(absl::string_view reason, absl::string_view field, absl::string_view message) {
  return MakeError(absl::StatusCode::kOutOfRange, reason, field, message);
}

absl::Status MakeQuotaError(absl::string_view reason, absl::string_view subject, const Quota& quota,
                            absl::string_view unit, absl::string_view field) {
  absl::Status status =
      MakeError(absl::StatusCode::kResourceExhausted, reason, field,
                absl::StrCat(subject, " does not pay for this: limit ", quota.limit, ", spent ", quota.spent,
                             ", requested ", quota.requested, ", remaining ", quota.remaining, " ", unit));
  SetErrorQuota(quota, status);
  return status;
}

std::optional<std::string> ErrorReason(const absl::Status& status) { return Payload(status, kReasonPayload); }

std::optional<std::string> ErrorField(const absl::Status& status) { return Payload(status, kFieldPayload); }

std::optional<Quota> ErrorQuota(const absl::Status& status) {
  const std::optional<std::string> payload = Payload(status, kQuotaPayload);
  if (!payload.has_value()) return std::nullopt;
  const std::vector<absl::string_view> texts = absl::StrSplit(*payload, ' ');
  std::array<int64_t, 4> numbers{};
  if (texts.size() != numbers.size()) return std::nullopt;
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (!absl::SimpleAtoi(texts[i], &numbers[i])) return std::nullopt;
  }
  return Quota{numbers[0], numbers[1], numbers[2], numbers[3]};
}

void SetErrorQuota(const Quota& quota, absl::Status& error) {
  if (error.ok()) return;
  error.SetPayload(kQuotaPayload,
                   absl::Cord(absl::StrCat(quota.limit, " ", quota.spent, " ", quota.requested, " ", quota.remaining)));
}

}  // namespace gradoracle
