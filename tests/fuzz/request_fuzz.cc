// Raw bytes as a caller may send them: parse, convert, validate. Whatever comes, the answer is a status; a query that
// is accepted keeps the promises the engine relies on, and survives the way back through a message unchanged.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "core/errors.h"
#include "core/query_policy.h"
#include "google/protobuf/stubs/logging.h"
#include "proto/conversion.h"

namespace {

using namespace gradoracle;  // NOLINT: the one file where it reads better

const OracleInfo& Info() {
  static const OracleInfo info = [] {
    OracleInfo made;
    made.dimension = 3;
    made.row_count = 1000;
    made.limits.max_batch_size = 1000;
    made.noise.extra_variances = {1, 64};
    made.noise.curvature_probe = true;
    made.dataset_version = "fuzz";
    return made;
  }();
  return info;
}

void Check(bool condition) {
  if (!condition) std::abort();
}

void CheckAccepted(const GradientQuery& query) {
  Check(query.weights.size() == Info().dimension && query.weights.allFinite());
  Check(query.weights.norm() <= Info().limits.max_weights_norm * (1 + 1e-12));
  Check(query.batch_size >= Info().limits.min_batch_size && query.batch_size <= Info().limits.max_batch_size);
  Check(query.count >= 1 && query.count <= Info().limits.max_count);
  Check(query.request_id.size() <= 128);
  Check(QueryDigest(query, Info()).size() == 32);
}

void CheckRefused(const absl::Status& status) {
  Check(ErrorReason(status).has_value() && ErrorField(status).has_value());
  Check(status.message().size() < 2000);  // an error does not echo the request at length
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // protobuf reports every request id that is no UTF-8 on stderr.
  static const bool silenced = (google::protobuf::SetLogHandler(nullptr), true);
  static_cast<void>(silenced);
  v1::StreamGradientsRequest request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto options = StreamOptionsFromProto(request);
  if (!options.ok()) CheckRefused(options.status());
  const auto query = QueryFromProto(request);
  if (!query.ok()) {
    CheckRefused(query.status());
    return 0;
  }
  const absl::Status status = ValidateQuery(*query, Info());
  if (!status.ok()) {
    CheckRefused(status);
    return 0;
  }
  CheckAccepted(*query);
  if (!options.ok()) return 0;
  Check(options->first_gradient >= 0 && options->max_chunk_gradients >= 0);
  const auto again = QueryFromProto(ToProto(*query, *options));
  Check(again.ok() && QueryDigest(*again, Info()) == QueryDigest(*query, Info()));
  Check(again->request_id == query->request_id);
  return 0;
}
