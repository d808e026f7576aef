#include "core/errors.h"

#include "absl/strings/cord.h"

namespace gradoracle {
namespace {

constexpr absl::string_view kReasonPayload = "gradoracle/reason";
constexpr absl::string_view kFieldPayload = "gradoracle/field";

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

std::optional<std::string> ErrorReason(const absl::Status& status) { return Payload(status, kReasonPayload); }

std::optional<std::string> ErrorField(const absl::Status& status) { return Payload(status, kFieldPayload); }

}  // namespace gradoracle
