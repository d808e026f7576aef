#include "client/cli/gradient_flags.h"

#include "client/cli/flag_values.h"
#include "core/status_macros.h"

namespace gradoracle {

void GradientFlags::AddTo(FlagSet& flags, const std::string& remark, const std::string& count_remark) {
  flags.Text("--weights,--at", weights_, "Point of evaluation" + remark, "FILE.npy|zeros");
  flags.Text("--batch-size", typed_batch_size_, "Rows per gradient", "N");
  flags.Text("--count,--gradients", typed_count_, "Number of gradients" + count_remark, "M");
}

absl::Status GradientFlags::Check(Needed needed) {
  GRADORACLE_RETURN_IF_ERROR(RequireValue(typed_batch_size_, "batch_size", "--batch-size N"));
  GRADORACLE_RETURN_IF_ERROR(ParseInteger(typed_batch_size_, "batch_size", batch_size_));
  if (needed.weights) GRADORACLE_RETURN_IF_ERROR(RequireValue(weights_, "weights", "--weights FILE.npy (or zeros)"));
  if (needed.count) GRADORACLE_RETURN_IF_ERROR(RequireValue(typed_count_, "count", "--count M"));
  if (typed_count_.empty()) return absl::OkStatus();
  return ParseInteger(typed_count_, "count", count_.emplace());
}

}  // namespace gradoracle
