#include "client/optimise/pooled_oracles.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

constexpr int64_t kBlockBytes = int64_t{256} << 10;

absl::Status CheckAgreement(const NamedOracle& first, const OracleInfo& first_info, const NamedOracle& second,
                            const OracleInfo& second_info);
absl::Status Disagreement(absl::string_view field, const NamedOracle& first, const NamedOracle& second,
                          absl::string_view message);

}  // namespace

absl::StatusOr<PooledOracles> PooledOracles::Create(std::vector<NamedOracle> oracles) {
  if (oracles.empty()) {
    return InvalidField("NO_ORACLE", "oracle", "oracle: none given; name at least one with --oracle HOST:PORT");
  }
  PooledOracles pooled;
  for (NamedOracle& oracle : oracles) {
    GRADORACLE_ASSIGN_OR_RETURN(OracleInfo info, oracle.source->Info());
    if (!pooled.members_.empty()) {
      const Member& first = pooled.members_.front();
      GRADORACLE_RETURN_IF_ERROR(CheckAgreement(first.oracle, first.info, oracle, info));
    }
    for (const Member& member : pooled.members_) {
      if (info.dataset_version.empty() || member.info.dataset_version != info.dataset_version ||
          member.info.row_count != info.row_count) {
        continue;
      }
      pooled.warning_ = absl::StrCat("oracles ", member.oracle.name, " and ", oracle.name,
                                     " name the same data set version and number of rows: if they hold the same rows, "
                                     "these count twice");
    }
    pooled.row_count_ += info.row_count;
    pooled.members_.push_back({std::move(oracle), std::move(info), 1});
  }
  if (pooled.members_.size() == 1) return pooled;
  for (Member& member : pooled.members_) {
    if (member.info.row_count < 1) {
      return InvalidField("ORACLES_DISAGREE", "row_count",
                          absl::StrCat("row_count: oracle ", member.oracle.name,
                                       " does not tell how many rows it holds, so that it cannot be weighted"));
    }
    member.share = static_cast<double>(member.info.row_count) / static_cast<double>(pooled.row_count_);
  }
  return pooled;
}

double PooledOracles::max_weights_norm() const {
  double norm = members_.front().info.limits.max_weights_norm;
  for (const Member& member : members_) norm = std::min(norm, member.info.limits.max_weights_norm);
  return norm;
}

int64_t PooledOracles::min_batch_size() const {
  int64_t size = 1;
  for (const Member& member : members_) size = std::max(size, member.info.limits.min_batch_size);
  return size;
}

absl::Status PooledOracles::Gradients(const Eigen::VectorXd& weights, int64_t batch_size, int64_t count, Level level,
                                      GradientSink sink) {
  std::vector<Term> terms;
  terms.reserve(members_.size());
  for (const Member& member : members_) terms.push_back({LevelOf(member, batch_size, level), member.share});
  return Sum(weights, batch_size, count, terms, sink);
}

absl::Status PooledOracles::Curvature(const Eigen::VectorXd& weights, int64_t batch_size, int64_t count,
                                      CurvatureLevel level, std::optional<double> assumed_total, GradientSink sink) {
  std::vector<Term> terms;
  for (const Member& member : members_) {
    Term term;
    if (level == CurvatureLevel::kRule) {
      // The same refusals, without what the owner offers beside the rule.
      OracleInfo rule_only = member.info;
      rule_only.noise.curvature_probe = false;
      rule_only.noise.extra_variances.clear();
      GRADORACLE_ASSIGN_OR_RETURN(term.level, CurvatureNoiseLevel(rule_only, batch_size, assumed_total));
    } else {
      GRADORACLE_ASSIGN_OR_RETURN(term.level, CurvatureNoiseLevel(member.info, batch_size, assumed_total));
    }
    const double n = static_cast<double>(batch_size);
    term.factor = std::sqrt(member.share * n / term.level.total.value_or(n));
    terms.push_back(term);
  }
  return Sum(weights, batch_size, count, terms, sink);
}

absl::Status PooledOracles::CheckTotalNoiseVariance(int64_t batch_size, double given) const {
  for (const Member& member : members_) {
    const absl::Status status = ChooseNoise(member.info.noise, batch_size, given).status();
    if (status.ok()) continue;
    if (members_.size() == 1) return status;
    return InvalidField(ErrorReason(status).value_or(""), ErrorField(status).value_or(""),
                        absl::StrCat(status.message(), " (oracle ", member.oracle.name, ")"));
  }
  return absl::OkStatus();
}

double PooledOracles::NoiseOverBatch(int64_t batch_size, Level level, double unknown_total) const {
  double noise = 0;
  for (const Member& member : members_) {
    const double total = LevelOf(member, batch_size, level).total.value_or(unknown_total);
    noise += member.share * member.share * total / static_cast<double>(batch_size);
  }
  return noise;
}

NoiseLevel PooledOracles::LevelOf(const Member& member, int64_t batch_size, Level level) const {
  if (level == Level::kSmallest) return SmallestNoiseLevel(member.info, batch_size);
  NoiseLevel rule;
  rule.total = KnownTotalNoiseVariance(member.info.noise, batch_size);
  return rule;
}

absl::Status PooledOracles::Sum(const Eigen::VectorXd& weights, int64_t batch_size, int64_t count,
                                const std::vector<Term>& terms, GradientSink sink) {
  GradientQuery query;
  query.weights = weights;
  query.batch_size = batch_size;
  // An oracle's blocks come when it likes: the sum is gathered in pieces of bounded size, one request to each a piece.
  const int64_t row_bytes = dimension() * static_cast<int64_t>(sizeof(double));
  const int64_t most = std::max<int64_t>(1, kBlockBytes / row_bytes);
  int64_t allowed = count;
  for (const Member& member : members_) allowed = std::min(allowed, member.info.limits.max_count);
  RowMajorMatrix sum;
  for (int64_t done = 0; done < count;) {
    query.count = std::min({count - done, most, std::max<int64_t>(1, allowed)});
    sum.setZero(query.count, dimension());
    for (size_t j = 0; j < members_.size(); ++j) {
      ApplyNoiseLevel(terms[j].level, query);
      int64_t row = 0;
      absl::Status status = members_[j].oracle.source->Gradients(
          query, [&](const Eigen::Ref<const RowMajorMatrix>& block) -> absl::Status {
            if (block.cols() != dimension() || row + block.rows() > query.count) {
              return MakeError(absl::StatusCode::kDataLoss, "COUNT_MISMATCH", "count",
                               absl::StrCat("count: oracle ", members_[j].oracle.name, " sent more than was asked"));
            }
            sum.middleRows(row, block.rows()) += terms[j].factor * block;
            row += block.rows();
            return absl::OkStatus();
          });
      gradients_ += status.ok() ? query.count : row;
      if (status.ok() && row != query.count) {
        status = MakeError(absl::StatusCode::kDataLoss, "COUNT_MISMATCH", "count",
                           absl::StrCat("count: asked oracle ", members_[j].oracle.name, " for ", query.count,
                                        " gradients, got ", row));
      }
      GRADORACLE_RETURN_IF_ERROR(status);
    }
    GRADORACLE_RETURN_IF_ERROR(sink(sum));
    done += query.count;
  }
  return absl::OkStatus();
}

namespace {

absl::Status CheckAgreement(const NamedOracle& first, const OracleInfo& first_info, const NamedOracle& second,
                            const OracleInfo& second_info) {
  if (first_info.dimension != second_info.dimension) {
    return Disagreement("dimension", first, second,
                        absl::StrCat("dimension ", first_info.dimension, " and ", second_info.dimension,
                                     ": they must hold the same features in the same order"));
  }
  if (first_info.loss != second_info.loss) {
    return Disagreement("loss", first, second, absl::StrCat("loss ", first_info.loss, " and ", second_info.loss));
  }
  if (first_info.scaling != second_info.scaling) {
    return Disagreement("scaling", first, second,
                        absl::StrCat("scaling ", first_info.scaling, " and ", second_info.scaling,
                                     ": their owners must serve with one published --scaling FILE.json"));
  }
  if (HasUnitDiagonal(first_info)) {
    return Disagreement("scaling", first, second,
                        "units although both say `standardised`: each standardised its own rows; their owners must "
                        "serve with one published --scaling FILE.json");
  }
  if (!first_info.feature_names.empty() && !second_info.feature_names.empty() &&
      first_info.feature_names != second_info.feature_names) {
    return Disagreement("feature_names", first, second,
                        "feature names: they must hold the same features in the same "
                        "order");
  }
  return absl::OkStatus();
}

absl::Status Disagreement(absl::string_view field, const NamedOracle& first, const NamedOracle& second,
                          absl::string_view message) {
  return InvalidField("ORACLES_DISAGREE", field,
                      absl::StrCat("oracles ", first.name, " and ", second.name, " differ in ", message));
}

}  // namespace
}  // namespace gradoracle
