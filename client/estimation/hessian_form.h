#ifndef GRADORACLE_CLIENT_ESTIMATION_HESSIAN_FORM_H_
#define GRADORACLE_CLIENT_ESTIMATION_HESSIAN_FORM_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// What an estimated Hessian is held as, and how much memory that takes; asked before anything is allocated.
namespace gradoracle {

enum class HessianForm {
  kDense,     // H_hat, (d, d)
  kRowSpace,  // B (at most m - 1, d) with H_hat = B'B exactly; all m gradients are kept (row_space.h)
  kSketch,    // B (l, d) with H_hat ~ B'B and a limit on what was left out, whatever m (scatter_sketch.h)
};

// "dense", "row_space", "sketch". Errors: kInvalidArgument FORM_UNKNOWN.
absl::StatusOr<HessianForm> ParseHessianForm(absl::string_view name);
absl::string_view HessianFormName(HessianForm form);

// Peak bytes of estimating in `form`, the error limit included, for d = dimension, m = count, l = sketch_rows:
//   dense      8 (22 d^2 + O(d))
//   row_space  8 (m d + 4 m^2 + 1024 m)
//   sketch     8 ((36 l + max(l, 64)) d + 2 (16 l)^2)
// What the code allocates, for large d; measured peaks were within 3 % (docs/shrinkage.md).
double EstimateMemory(HessianForm form, int64_t dimension, int64_t count, int64_t sketch_rows);

// OK when that fits three quarters of this machine's memory.
// Errors: kResourceExhausted MEMORY_EXCEEDED (field `dimension`), with the bytes, and the form that fits if one does.
absl::Status CheckMemory(HessianForm form, int64_t dimension, int64_t count, int64_t sketch_rows);

// The same against `available` bytes.
absl::Status CheckMemory(HessianForm form, int64_t dimension, int64_t count, int64_t sketch_rows, double available);

// OK when `needed` bytes fit three quarters of this machine's memory. Errors: kResourceExhausted MEMORY_EXCEEDED (field
// `dimension`); `what` begins the message's second half.
absl::Status CheckBytes(int64_t dimension, double needed, absl::string_view what);

inline constexpr int64_t kDefaultSketchRows = 64;

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_HESSIAN_FORM_H_
