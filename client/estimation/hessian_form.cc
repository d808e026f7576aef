#include "client/estimation/hessian_form.h"

#include <unistd.h>

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/estimation/row_space.h"
#include "client/estimation/scatter_sketch.h"
#include "client/estimation/streaming_covariance.h"
#include "core/errors.h"

namespace gradoracle {
namespace {

constexpr double kShareOfMemory = 0.75;
constexpr HessianForm kForms[] = {HessianForm::kDense, HessianForm::kRowSpace, HessianForm::kSketch};

double AvailableBytes();
std::string Advice(int64_t dimension, int64_t count, int64_t sketch_rows, double available);

}  // namespace

absl::StatusOr<HessianForm> ParseHessianForm(absl::string_view name) {
  for (const HessianForm form : kForms) {
    if (name == HessianFormName(form)) return form;
  }
  return InvalidField("FORM_UNKNOWN", "form",
                      absl::StrCat("form is '", name, "', but must be one of dense, row_space, sketch"));
}

absl::string_view HessianFormName(HessianForm form) {
  switch (form) {
    case HessianForm::kDense:
      return "dense";
    case HessianForm::kRowSpace:
      return "row_space";
    case HessianForm::kSketch:
      return "sketch";
  }
  return "";
}

double EstimateMemory(HessianForm form, int64_t dimension, int64_t count, int64_t sketch_rows) {
  const double d = static_cast<double>(dimension);
  switch (form) {
    case HessianForm::kDense:  // the Hessian, a copy for the eigenvalues, three work matrices of the split differences
      return StreamingCovariance::MemoryBytes(dimension) + 5 * sizeof(double) * d * d;
    case HessianForm::kRowSpace:
      return RowSpace::MemoryBytes(dimension, count);
    case HessianForm::kSketch:
      return ScatterSketch::MemoryBytes(dimension, sketch_rows);
  }
  return 0;
}

absl::Status CheckMemory(HessianForm form, int64_t dimension, int64_t count, int64_t sketch_rows) {
  return CheckMemory(form, dimension, count, sketch_rows, AvailableBytes());
}

absl::Status CheckBytes(int64_t dimension, double needed, absl::string_view what) {
  const double available = AvailableBytes();
  if (needed <= available) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kResourceExhausted, "MEMORY_EXCEEDED", "dimension",
      absl::StrFormat("dimension is %d: %s needs %.0f bytes, more than the %.0f bytes that are 3/4 of this "
                      "machine's memory",
                      dimension, what, needed, available));
}

absl::Status CheckMemory(HessianForm form, int64_t dimension, int64_t count, int64_t sketch_rows, double available) {
  const double needed = EstimateMemory(form, dimension, count, sketch_rows);
  // BLAS counts in 32-bit integers; far above what the memory of a machine allows today.
  if (needed <= available && dimension < (int64_t{1} << 30)) return absl::OkStatus();
  return MakeError(absl::StatusCode::kResourceExhausted, "MEMORY_EXCEEDED", "dimension",
                   absl::StrFormat("dimension is %d: the form `%s` with its error limit needs %.0f bytes, more than "
                                   "the %.0f bytes that are 3/4 of this machine's memory; %s",
                                   dimension, HessianFormName(form), needed, available,
                                   Advice(dimension, count, sketch_rows, available)));
}

namespace {

double AvailableBytes() {
  return kShareOfMemory * static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
}

// The most exact form that fits; count 0 is unknown, and rules row_space out.
std::string Advice(int64_t dimension, int64_t count, int64_t sketch_rows, double available) {
  for (const HessianForm form : kForms) {
    if (form == HessianForm::kRowSpace && count == 0) continue;
    const double needed = EstimateMemory(form, dimension, count, sketch_rows);
    if (needed <= available && dimension < (int64_t{1} << 30)) {
      return absl::StrFormat("the form `%s` needs %.0f: use that", HessianFormName(form), needed);
    }
  }
  return "no form fits; ask for fewer sketch rows or fewer gradients";
}

}  // namespace
}  // namespace gradoracle
