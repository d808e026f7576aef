// What the client shows an oracle, to whom, and what it says when the two do not come together.

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/channel_credentials.h"
#include "client/oracle_client.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/identity/authenticator.h"
#include "server/identity/server_credentials.h"
#include "server/identity/token.h"
#include "server/identity/token_table.h"
#include "tests/server/identity/fake_ledger.h"
#include "tests/server/identity/test_certificates.h"
#include "tests/server/service/test_oracle.h"

namespace gradoracle {
namespace {

using testing::HasSubstr;
using testing::Not;

class ClientIdentityTest : public testing::Test {
 protected:
  ClientIdentityTest() {
    made_.MakeAuthority("ca");
    made_.MakeAuthority("foreign");
    made_.Make("server", "ca", "DNS:localhost,IP:127.0.0.1");
    made_.Make("elsewhere", "ca", "DNS:oracle.example.org");
    made_.Make("alice", "ca", "DNS:alice");
    made_.Make("forged", "foreign", "DNS:alice");
    made_.Make("expired", "ca", "DNS:alice", -1);
    token_ = *GenerateToken();
    StoredToken stored;
    stored.principal = "alice";
    stored.sha256 = TokenDigest(token_);
    ledger_.tokens.push_back(stored);
    EXPECT_TRUE(table_.Reload().ok());
    std::ofstream(made_.Path("token")) << token_ << "\n";
  }

  // kind: what the oracle wants; certificate: of the server, empty for plaintext.
  void Start(AuthKind kind, const std::string& certificate) {
    authenticator_ = std::make_unique<Authenticator>(kind, &table_);
    TestOracle::Options options;
    options.admission.authenticator = authenticator_.get();
    options.ledger.default_limit = 1'000'000;
    if (!certificate.empty()) {
      const TlsFiles files = {.certificate = made_.Path(certificate + ".pem"),
                              .key = made_.Path(certificate + ".key"),
                              .client_ca = made_.Path("ca.pem")};
      auto credentials = MakeTlsCredentials(files, kind == AuthKind::kCertificates);
      ASSERT_TRUE(credentials.ok()) << credentials.status();
      options.credentials = *credentials;
    }
    oracle_ = std::make_unique<TestOracle>(options);
  }
  OracleClientOptions Options(const std::string& ca, const std::string& certificate, bool token) const {
    OracleClientOptions options;
    if (!ca.empty()) options.tls_ca = made_.Path(ca + ".pem");
    if (!certificate.empty()) options.tls_cert = made_.Path(certificate + ".pem");
    if (!certificate.empty()) options.tls_key = made_.Path(certificate + ".key");
    if (token) options.token_file = made_.Path("token");
    return options;
  }
  absl::Status Ask(const OracleClientOptions& options) {
    const auto client = OracleClient::Create(oracle_->address(), options);
    if (!client.ok()) return client.status();
    const GradientQuery query = oracle_->Query(1);
    if (const auto gradient = (*client)->Gradient(query); !gradient.ok()) return gradient.status();
    return (*client)->Gradients(oracle_->Query(3), [](const auto&) { return absl::OkStatus(); });
  }
  // A failed connection, explained.
  void ExpectExplained(const OracleClientOptions& options, const std::string& words) {
    const absl::Status status = Ask(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(ErrorReason(status).value_or(""), "TLS_FAILED") << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }
  void ExpectRefused(const OracleClientOptions& options, const std::string& reason) {
    const absl::Status status = Ask(options);
    EXPECT_EQ(ErrorReason(status).value_or(""), reason) << status;
    EXPECT_THAT(status.ToString(), Not(HasSubstr(token_.substr(11))));
  }

  TestCertificates made_;
  FakeLedger ledger_;
  TokenTable table_{&ledger_};
  std::string token_;
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<TestOracle> oracle_;
};

TEST_F(ClientIdentityTest, ShowsItsToken) {
  Start(AuthKind::kTokens, "server");
  EXPECT_TRUE(Ask(Options("ca", "", true)).ok()) << Ask(Options("ca", "", true));
  EXPECT_TRUE(Ask(Options("ca", "alice", true)).ok());
  ExpectRefused(Options("ca", "", false), "TOKEN_MISSING");
  table_.Reload().IgnoreError();
  ledger_.tokens[0].revoked = true;
  EXPECT_TRUE(table_.Reload().ok());
  ExpectRefused(Options("ca", "", true), "TOKEN_REVOKED");
}

TEST_F(ClientIdentityTest, ShowsItsTokenOverLoopback) {
  Start(AuthKind::kTokens, "");
  EXPECT_TRUE(Ask(Options("", "", true)).ok());
  ExpectRefused(Options("", "", false), "TOKEN_MISSING");
}

TEST_F(ClientIdentityTest, ShowsItsCertificate) {
  Start(AuthKind::kCertificates, "server");
  EXPECT_TRUE(Ask(Options("ca", "alice", false)).ok());
  ExpectExplained(Options("ca", "", true), "wants a client certificate; give tls_cert");
  ExpectExplained(Options("ca", "forged", false), "does not accept the certificate in tls_cert");
  ExpectExplained(Options("ca", "expired", false), "certificate in tls_cert has expired");
}

TEST_F(ClientIdentityTest, SaysWhyItDoesNotTrustAServer) {
  Start(AuthKind::kTokens, "server");
  ExpectExplained(Options("foreign", "", true), "not vouched for by tls_ca");
  OracleClientOptions system = Options("", "", true);
  system.tls_ca = "system";
  ExpectExplained(system, "not vouched for by tls_ca");
  Start(AuthKind::kTokens, "elsewhere");
  ExpectExplained(Options("ca", "", true), "for other names than '127.0.0.1'");
}

TEST_F(ClientIdentityTest, SaysThatTlsMeetsPlaintext) {
  Start(AuthKind::kNone, "");
  ExpectExplained(Options("ca", "", false), "does not speak TLS");
  Start(AuthKind::kNone, "server");
  const absl::Status status = Ask(Options("", "", false));
  EXPECT_EQ(ErrorReason(status).value_or(""), "ORACLE_UNREACHABLE");
  EXPECT_THAT(std::string(status.message()), HasSubstr("speaks TLS needs tls_ca"));
}

TEST_F(ClientIdentityTest, AnUnreachableOracleIsNoMatterOfTls) {
  Start(AuthKind::kNone, "server");
  const std::string address = oracle_->address();
  oracle_.reset();
  const auto client = OracleClient::Create(address, Options("ca", "", false));
  EXPECT_EQ(ErrorReason((*client)->Info().status()).value_or(""), "ORACLE_UNREACHABLE");
}

// Would catch: a token sent to whoever listens on the way.
TEST_F(ClientIdentityTest, TokensStayOffTheNetworkInPlaintext) {
  OracleClientOptions options = Options("", "", true);
  for (const char* away : {"192.0.2.1:1", "oracle.example.org:1", "[2001:db8::1]:1", "localhost.example.org:1",
                           "127.0.0.1.example.org:1", "0.0.0.0:1"}) {
    const auto client = OracleClient::Create(away, options);
    EXPECT_EQ(ErrorReason(client.status()).value_or(""), "TOKEN_IN_PLAINTEXT") << away;
    options.insecure = true;
    EXPECT_TRUE(OracleClient::Create(away, options).ok());
    options.insecure = false;
    EXPECT_TRUE(OracleClient::Create(away, Options("ca", "", true)).ok());
  }
  for (const char* here : {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "LOCALHOST:1"}) {
    EXPECT_TRUE(OracleClient::Create(here, options).ok()) << here;
  }
}

TEST_F(ClientIdentityTest, RefusesFilesThatAreNotWhatTheyShouldBe) {
  Start(AuthKind::kNone, "server");
  for (const std::string& content : {std::string(" \n"), std::string("two words"), std::string("a\0b", 3),
                                     std::string(5000, 'a'), std::string("first\nsecond\n")}) {
    std::ofstream(made_.Path("token"), std::ios::binary) << content;
    ExpectRefused(Options("", "", true), "TOKEN_FILE_INVALID");
  }
  OracleClientOptions options;
  options.token_file = made_.Path("none");
  ExpectRefused(options, "FILE_UNREADABLE");
  ExpectRefused(Options("none", "", false), "FILE_UNREADABLE");
  options = Options("ca", "alice", false);
  options.tls_key = "";
  ExpectRefused(options, "TLS_OPTIONS");
  options = Options("ca", "alice", false);
  options.tls_key = made_.Path("forged.key");
  ExpectExplained(options, "holds no usable PEM");
}

}  // namespace
}  // namespace gradoracle
