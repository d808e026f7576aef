#ifndef GRADORACLE_TESTS_SERVER_SERVICE_TEST_ORACLE_H_
#define GRADORACLE_TESTS_SERVER_SERVICE_TEST_ORACLE_H_

#include <array>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/compute_pool.h"
#include "core/gradient_engine.h"
#include "core/gradient_source.h"
#include "core/query_policy.h"
#include "gtest/gtest.h"
#include "server/admission/admission.h"
#include "server/ledger/open_ledger.h"
#include "server/service/grpc_server.h"
#include "server/service/health_service.h"
#include "server/service/oracle_service.h"

namespace gradoracle {

// A whole oracle in this process, on made-up data and with a known secret, listening on a free port of loopback.
class TestOracle {
 public:
  struct Options {
    int64_t row_count = 300;
    int64_t dimension = 5;
    int64_t max_count = 1'000'000;
    int pool_threads = 2;
    bool reflection = true;
    absl::Duration cut_short_grace = GrpcServerOptions().cut_short_grace;
    AdmissionOptions admission = {};
    LedgerOptions ledger = AnybodyUnlimited();
    OracleServiceOptions service = {};
    GrpcServerOptions server = {};
    uint8_t secret = 7;
    std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  };

  TestOracle() : TestOracle(Options()) {}
  explicit TestOracle(const Options& options)
      : data_(MakeData(options)),
        info_(MakeInfo(options)),
        engine_(&data_, {Sampling::kIid, NoisePolicy(), /*residual_variance=*/0.25}),
        secret_(Secret(options.secret)),
        ledger_(OpenLedger(options.ledger).value()),
        pool_(options.pool_threads),
        admission_(info_, secret_, ledger_.get(), options.admission),
        oracle_(&engine_, &admission_, &pool_, options.service) {
    GrpcServerOptions server_options = options.server;
    server_options.listen = "127.0.0.1:0";
    server_options.dimension = options.dimension;
    server_options.credentials = options.credentials;
    server_options.reflection = options.reflection;
    server_options.cut_short_grace = options.cut_short_grace;
    auto server = GrpcServer::Start(server_options, &oracle_, &health_, &admission_);
    if (!server.ok()) ADD_FAILURE() << server.status();
    if (server.ok()) server_ = *std::move(server);
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", server_->port()); }
  const OracleInfo& info() const { return info_; }
  const RegressionData& data() const { return data_; }
  Admission& admission() { return admission_; }
  Ledger& ledger() { return *ledger_; }
  int64_t gradients_charged() { return ledger_->DatasetAccount()->spent; }
  HealthService& health() { return health_; }
  GrpcServer& server() { return *server_; }
  std::shared_ptr<grpc::Channel> Tcp() const {
    return grpc::CreateChannel(address(), grpc::InsecureChannelCredentials());
  }

  GradientQuery Query(int64_t count, const std::string& request_id = "") const {
    GradientQuery query;
    query.weights = Eigen::VectorXd::LinSpaced(info_.dimension, -0.5, 1.0);
    query.batch_size = 32;
    query.count = count;
    query.request_id = request_id;
    return query;
  }

  // What the engine itself says to a named query: the reference for everything that came over the wire.
  RowMajorMatrix Expected(const GradientQuery& query) const {
    const auto key = secret_.DeriveRequestKey("anonymous", query.request_id, QueryDigest(query, info_));
    auto stream = engine_.Start(query, *key);
    RowMajorMatrix gradients(query.count, info_.dimension);
    stream->Compute(0, gradients);
    return gradients;
  }

 private:
  static RegressionData MakeData(const Options& options) {
    std::mt19937_64 generator(1);
    std::normal_distribution<double> normal;
    RegressionData data;
    data.features =
        RowMajorMatrix::NullaryExpr(options.row_count, options.dimension, [&] { return normal(generator); });
    data.targets = data.features.rowwise().sum();
    for (double& y : data.targets) y += 0.5 * normal(generator);
    return data;
  }
  static OracleInfo MakeInfo(const Options& options) {
    OracleInfo info;
    info.dimension = options.dimension;
    info.row_count = options.row_count;
    info.scaling = "raw";
    info.limits.max_batch_size = options.row_count;
    info.limits.max_count = options.max_count;
    info.limits.max_weights_norm = 1e6;
    info.dataset_version = "test";
    info.version = "test";
    return info;
  }
  static LedgerOptions AnybodyUnlimited() {
    LedgerOptions options;
    options.unlimited_principal = "anonymous";
    return options;
  }
  static ProcessSecret Secret(uint8_t fill) {
    std::array<uint8_t, 32> bytes;
    bytes.fill(fill);
    return ProcessSecret(bytes);
  }

  const RegressionData data_;
  const OracleInfo info_;
  const GradientEngine engine_;
  const ProcessSecret secret_;
  // Destroyed from the bottom up: the server first (it waits for its calls), the pool after everything it may work for.
  const std::unique_ptr<Ledger> ledger_;
  ComputePool pool_;
  Admission admission_;
  OracleService oracle_;
  HealthService health_;
  std::unique_ptr<GrpcServer> server_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_SERVER_SERVICE_TEST_ORACLE_H_
