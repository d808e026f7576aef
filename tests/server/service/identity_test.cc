// Who is answered over a real connection: TLS and tokens through the whole server, against a ledger that counts.

#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/conversion.h"
#include "proto/status_conversion.h"
#include "server/identity/authenticator.h"
#include "server/identity/server_credentials.h"
#include "server/identity/token.h"
#include "server/identity/token_table.h"
#include "tests/server/identity/fake_ledger.h"
#include "tests/server/identity/test_certificates.h"
#include "tests/server/service/test_oracle.h"

namespace gradoracle {
namespace {

// What a caller has in hand; empty: nothing of the kind.
struct Caller {
  std::string certificate = {};  // NAME of NAME.pem and NAME.key
  std::string token = {};
  std::string trusts = "ca";
};

class IdentityTest : public testing::Test {
 protected:
  IdentityTest() {
    made_.MakeAuthority("ca");
    made_.MakeAuthority("foreign");
    made_.Make("server", "ca", "DNS:localhost,IP:127.0.0.1");
    made_.Make("alice", "ca", "email:a@example.org,DNS:alice.example.org,DNS:other.example.org,URI:urn:alice");
    made_.Make("bob", "ca", "DNS:bob");
    made_.Make("nameless", "ca", "");
    made_.Make("expired", "ca", "DNS:bob", -1);
    made_.Make("forged", "foreign", "DNS:bob");
    alice_ = Token("urn:alice");
    bob_ = Token("bob");
    EXPECT_TRUE(table_.Reload().ok());
  }

  TlsFiles Files(bool client_ca) const {
    return {.certificate = made_.Path("server.pem"),
            .key = made_.Path("server.key"),
            .client_ca = client_ca ? made_.Path("ca.pem") : ""};
  }
  void Start(AuthKind kind, bool client_ca) {
    authenticator_ = std::make_unique<Authenticator>(kind, &table_);
    TestOracle::Options options;
    options.admission.authenticator = authenticator_.get();
    options.ledger.default_limit = 1'000'000;
    const auto credentials = MakeTlsCredentials(Files(client_ca), kind == AuthKind::kCertificates);
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    options.credentials = *credentials;
    oracle_ = std::make_unique<TestOracle>(options);
  }
  // Asks for one gradient; "OK", the reason of the refusal, or UNAVAILABLE for a connection that did not come about.
  std::string Ask(const Caller& caller) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = made_.Text(caller.trusts + ".pem");
    if (!caller.certificate.empty()) {
      options.pem_cert_chain = made_.Text(caller.certificate + ".pem");
      options.pem_private_key = made_.Text(caller.certificate + ".key");
    }
    return Ask(grpc::SslCredentials(options), caller.token);
  }
  std::string Ask(const std::shared_ptr<grpc::ChannelCredentials>& credentials, const std::string& token) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub = v1::OracleService::NewStub(grpc::CreateCustomChannel(oracle_->address(), credentials, arguments));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
    if (!token.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", token));
    v1::GetGradientResponse response;
    const absl::Status status =
        FromGrpcStatus(stub->GetGradient(&context, ToUnaryProto(oracle_->Query(1), ElementType::kFloat64), &response));
    if (status.ok()) return "OK";
    return ErrorReason(status).value_or(absl::StatusCodeToString(status.code()));
  }
  int64_t Charged() { return oracle_->gradients_charged(); }

  TestCertificates made_;
  FakeLedger ledger_;
  TokenTable table_{&ledger_};
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<TestOracle> oracle_;
  std::string alice_;
  std::string bob_;

 private:
  std::string Token(const std::string& principal) {
    const std::string token = *GenerateToken();
    StoredToken stored;
    stored.principal = principal;
    stored.sha256 = TokenDigest(token);
    ledger_.tokens.push_back(stored);
    return token;
  }
};

TEST_F(IdentityTest, CertificatesAreRequired) {
  Start(AuthKind::kCertificates, /*client_ca=*/true);
  EXPECT_EQ(Ask({.certificate = "bob"}), "OK");
  EXPECT_EQ(Ask({.certificate = "alice"}), "OK");
  EXPECT_EQ(Ask({.certificate = "alice", .token = alice_}), "OK");  // the URI it is, not DNS, not e-mail
  EXPECT_EQ(Charged(), 3);
  EXPECT_EQ(Ask({}), "UNAVAILABLE");
  EXPECT_EQ(Ask({.token = bob_}), "UNAVAILABLE");
  EXPECT_EQ(Ask({.certificate = "forged"}), "UNAVAILABLE");
  EXPECT_EQ(Ask({.certificate = "expired"}), "UNAVAILABLE");
  EXPECT_EQ(Ask({.certificate = "bob", .trusts = "foreign"}), "UNAVAILABLE");
  EXPECT_EQ(Ask({.certificate = "nameless"}), "CERTIFICATE_NAME");
  EXPECT_EQ(Ask({.certificate = "bob", .token = alice_}), "IDENTITY_MISMATCH");
  EXPECT_EQ(Ask({.certificate = "bob", .token = "nonsense"}), "TOKEN_UNKNOWN");
  EXPECT_EQ(Ask(grpc::InsecureChannelCredentials(), bob_), "UNAVAILABLE");
  EXPECT_EQ(Charged(), 3);
}

TEST_F(IdentityTest, TokensAreRequiredAndCertificatesMustAgree) {
  Start(AuthKind::kTokens, /*client_ca=*/true);
  EXPECT_EQ(Ask({.token = bob_}), "OK");
  EXPECT_EQ(Ask({.certificate = "bob", .token = bob_}), "OK");
  EXPECT_EQ(Charged(), 2);
  EXPECT_EQ(Ask({}), "TOKEN_MISSING");
  EXPECT_EQ(Ask({.token = "nonsense"}), "TOKEN_UNKNOWN");
  EXPECT_EQ(Ask({.certificate = "bob"}), "TOKEN_MISSING");
  EXPECT_EQ(Ask({.certificate = "bob", .token = alice_}), "IDENTITY_MISMATCH");
  EXPECT_EQ(Ask({.certificate = "nameless", .token = bob_}), "CERTIFICATE_NAME");
  EXPECT_EQ(Ask({.certificate = "forged", .token = bob_}), "UNAVAILABLE");
  EXPECT_EQ(Ask({.certificate = "expired", .token = bob_}), "UNAVAILABLE");
  EXPECT_EQ(Ask(grpc::InsecureChannelCredentials(), bob_), "UNAVAILABLE");
  EXPECT_EQ(Charged(), 2);
}

TEST_F(IdentityTest, CertificatesNobodyAskedForDoNotCount) {
  Start(AuthKind::kTokens, /*client_ca=*/false);
  EXPECT_EQ(Ask({.certificate = "forged", .token = alice_}), "OK");
  EXPECT_EQ(Ask({.certificate = "alice"}), "TOKEN_MISSING");
}

TEST_F(IdentityTest, RevocationCountsAtOnce) {
  Start(AuthKind::kTokens, /*client_ca=*/false);
  EXPECT_EQ(Ask({.token = bob_}), "OK");
  ledger_.tokens[1].revoked = true;
  ASSERT_TRUE(table_.Reload().ok());
  EXPECT_EQ(Ask({.token = bob_}), "TOKEN_REVOKED");
  EXPECT_EQ(Charged(), 1);
}

TEST_F(IdentityTest, NewCertificatesNeedNoRestart) {
  Start(AuthKind::kTokens, /*client_ca=*/true);
  EXPECT_EQ(Ask({.token = bob_}), "OK");
  EXPECT_EQ(Ask({.certificate = "forged", .token = bob_}), "UNAVAILABLE");
  // The certificate first: while the key is still the old one, the old pair serves.
  made_.Make("next", "foreign", "DNS:localhost,IP:127.0.0.1");
  made_.Run("mv next.pem server.pem");
  EXPECT_EQ(Ask({.token = bob_}), "OK");
  EXPECT_EQ(Ask({.token = bob_, .trusts = "foreign"}), "UNAVAILABLE");
  made_.Run("mv next.key server.key");
  EXPECT_EQ(Ask({.token = bob_, .trusts = "foreign"}), "OK");
  EXPECT_EQ(Ask({.token = bob_}), "UNAVAILABLE");
  // Who vouches for callers changes too; what is no certificate does not.
  const std::string ca = made_.Text("ca.pem");
  made_.Run("cp foreign.pem ca.pem");
  EXPECT_EQ(Ask({.certificate = "forged", .token = bob_, .trusts = "foreign"}), "OK");
  EXPECT_EQ(Ask({.certificate = "bob", .token = bob_, .trusts = "foreign"}), "UNAVAILABLE");
  std::ofstream(made_.Path("ca.pem")) << "half a certif";
  EXPECT_EQ(Ask({.certificate = "forged", .token = bob_, .trusts = "foreign"}), "OK");
  std::ofstream(made_.Path("ca.pem")) << ca;
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(Ask({.certificate = "bob", .token = bob_, .trusts = "foreign"}), "OK");
}

// What was opened under former certificates goes on.
TEST_F(IdentityTest, ConnectionsOutliveTheirCertificates) {
  Start(AuthKind::kTokens, /*client_ca=*/false);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = made_.Text("ca.pem");
  const auto channel = grpc::CreateChannel(oracle_->address(), grpc::SslCredentials(options));
  const auto stub = v1::OracleService::NewStub(channel);
  const auto info = [&] {
    grpc::ClientContext context;
    context.AddMetadata("authorization", absl::StrCat("Bearer ", bob_));
    v1::GetInfoResponse response;
    return stub->GetInfo(&context, {}, &response).ok();
  };
  EXPECT_TRUE(info());
  made_.Make("server", "foreign", "DNS:localhost,IP:127.0.0.1");
  EXPECT_EQ(Ask({.token = bob_, .trusts = "foreign"}), "OK");
  EXPECT_TRUE(info());
}

// Health is for probes, which have no identity.
TEST_F(IdentityTest, HealthNeedsNoToken) {
  Start(AuthKind::kTokens, /*client_ca=*/false);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = made_.Text("ca.pem");
  const auto stub =
      grpc::health::v1::Health::NewStub(grpc::CreateChannel(oracle_->address(), grpc::SslCredentials(options)));
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckResponse response;
  EXPECT_TRUE(stub->Check(&context, {}, &response).ok());
}

}  // namespace
}  // namespace gradoracle
