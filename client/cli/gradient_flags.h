#ifndef GRADORACLE_CLIENT_CLI_GRADIENT_FLAGS_H_
#define GRADORACLE_CLIENT_CLI_GRADIENT_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "client/cli/flag_set.h"

namespace gradoracle {

// --weights, --batch-size and --count, which mean the same in every verb that asks for gradients.
class GradientFlags {
 public:
  // `remark` and `count_remark` are appended to the help of --weights and --count, e.g. " (with --from: default all)".
  void AddTo(FlagSet& flags, const std::string& remark = "", const std::string& count_remark = "");
  // Errors: MISSING, NOT_AN_INTEGER. A verb that takes what it does not get from elsewhere may require less.
  struct Needed {
    bool weights = true;
    bool count = true;
  };
  absl::Status Check(Needed needed);
  absl::Status Check() { return Check(Needed{}); }

  const std::string& weights() const { return weights_; }  // a .npy, or "zeros"
  std::string WeightsFile() const { return weights_ == "zeros" ? "" : weights_; }
  int64_t batch_size() const { return batch_size_; }
  std::optional<int64_t> count() const { return count_; }

 private:
  std::string weights_;
  std::string typed_batch_size_;
  int64_t batch_size_ = 0;
  std::string typed_count_;
  std::optional<int64_t> count_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_GRADIENT_FLAGS_H_
