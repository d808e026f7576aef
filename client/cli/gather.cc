#include "client/cli/gather.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/progress.h"
#include "core/errors.h"
#include "core/npy.h"

namespace gradoracle {

Gathered Gather(GradientSource& source, const GradientQuery& query, GradientSink sink, ErrorOrigin origin,
                Environment& environment) {
  Gathered gathered;
  absl::Status sink_status;
  const absl::Time start = absl::Now();
  absl::Time last = start;
  {
    Progress progress(environment.progress ? &environment.err : nullptr, query.count, start);
    gathered.outcome.status = source.Gradients(query, [&](const Eigen::Ref<const RowMajorMatrix>& block) {
      sink_status = sink(block);
      if (!sink_status.ok()) return sink_status;
      gathered.count += block.rows();
      gathered.dimension = block.cols();
      last = absl::Now();
      progress.Update(gathered.count, last);
      return environment.interrupted.load() ? absl::CancelledError("interrupted") : absl::OkStatus();
    });
  }
  if (gathered.outcome.status.ok() && gathered.count != query.count) {
    gathered.outcome.status =
        MakeError(absl::StatusCode::kDataLoss, "COUNT_MISMATCH", "count",
                  absl::StrCat("count: asked for ", query.count, " gradients, got ", gathered.count));
  }
  gathered.seconds = absl::ToDoubleSeconds(last - start);
  gathered.outcome.origin = sink_status.ok() ? origin : ErrorOrigin::kRun;
  // Interrupted after the last gradient: nothing is missing.
  if (!gathered.outcome.status.ok() && sink_status.ok() && environment.interrupted.load()) {
    gathered.outcome.interrupted = true;
    if (gathered.count > 0) {
      gathered.outcome.status = absl::OkStatus();
      if (gathered.count == query.count) gathered.outcome.interrupted = false;
    } else {
      gathered.outcome.status =
          MakeError(absl::StatusCode::kCancelled, "INTERRUPTED", "", "interrupted before the first gradient arrived");
    }
  }
  return gathered;
}

absl::StatusOr<Eigen::VectorXd> ReadWeights(const std::string& text, int64_t dimension) {
  if (text == "zeros") return Eigen::VectorXd(Eigen::VectorXd::Zero(dimension));
  absl::StatusOr<Eigen::VectorXd> weights = ReadNpyVector(text);
  if (weights.ok()) return weights;
  return WithField(weights.status(), "weights");
}

std::string HowFar(const Gathered& gathered, int64_t count) {
  if (gathered.count == 0) return "";
  return absl::StrCat("; ", gathered.count, " of ", count, " gradients had arrived");
}

absl::Status WithSuffix(const absl::Status& status, const std::string& suffix) {
  return MakeError(status.code(), ErrorReason(status).value_or(""), ErrorField(status).value_or(""),
                   absl::StrCat(status.message(), suffix));
}

absl::Status WithField(const absl::Status& status, const std::string& field) {
  return MakeError(status.code(), ErrorReason(status).value_or(""), field, absl::StrCat(field, ": ", status.message()));
}

}  // namespace gradoracle
