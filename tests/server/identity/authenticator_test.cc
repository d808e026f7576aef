#include "server/identity/authenticator.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/identity/principal.h"
#include "server/identity/token.h"
#include "tests/server/identity/fake_ledger.h"

namespace gradoracle {
namespace {

using testing::HasSubstr;
using testing::Not;

CallerCredentials With(const std::string& authorization, const char* certificate_name = nullptr) {
  CallerCredentials caller;
  caller.authorization_count = authorization.empty() ? 0 : 1;
  caller.authorization = authorization;
  caller.has_certificate = certificate_name != nullptr;
  if (certificate_name != nullptr) caller.certificate_name = certificate_name;
  return caller;
}
CallerCredentials Certificate(const char* name) { return With("", name); }

struct AuthenticatorTest : testing::Test {
  AuthenticatorTest() {
    alice = Make("alice", absl::InfiniteFuture());
    bob = Make("bob", now + absl::Hours(1));
    EXPECT_TRUE(table.Reload().ok());
  }
  // The header of a new token.
  std::string Make(const std::string& principal, absl::Time expires) {
    const std::string token = *GenerateToken();
    StoredToken stored;
    stored.id = *GenerateTokenId();
    stored.principal = principal;
    stored.sha256 = TokenDigest(token);
    stored.created = now;
    stored.expires = expires;
    ledger.tokens.push_back(stored);
    EXPECT_TRUE(ledger.SetLimit(principal, 100).ok());
    return absl::StrCat("Bearer ", token);
  }
  std::string Refusal(AuthKind kind, const CallerCredentials& caller) {
    const auto principal = Authenticator(kind, &table).Identify(caller);
    if (principal.ok()) return absl::StrCat("identified as ", *principal);
    if (caller.authorization.size() > 8) {
      EXPECT_THAT(std::string(principal.status().message()), Not(HasSubstr(caller.authorization.substr(7))));
    }
    return ErrorReason(principal.status()).value_or("no reason");
  }

  FakeLedger ledger;
  absl::Time& now = ledger.now;
  TokenTable table{&ledger};
  std::string alice;
  std::string bob;
};

TEST_F(AuthenticatorTest, TokensAreLongRandomAndRecognisable) {
  const std::string one = *GenerateToken();
  EXPECT_THAT(one, testing::MatchesRegex("gradoracle_[0-9a-f]{64}"));
  EXPECT_NE(one, *GenerateToken());
  EXPECT_THAT(*GenerateTokenId(), testing::MatchesRegex("[0-9a-f]{12}"));
}

TEST_F(AuthenticatorTest, ReadsBearerHeadersOnly) {
  EXPECT_EQ(BearerToken("Bearer abc"), "abc");
  EXPECT_EQ(BearerToken("bEARER   abc "), "abc");
  for (const char* other : {"", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc", " Bearer abc"}) {
    EXPECT_EQ(BearerToken(other), "") << other;
  }
}

TEST_F(AuthenticatorTest, NobodyIsAskedWithoutAuth) {
  for (const CallerCredentials& caller : {With(""), With("Bearer nonsense"), Certificate("mallory")}) {
    EXPECT_EQ(*Authenticator(AuthKind::kNone, nullptr).Identify(caller), "anonymous");
  }
}

TEST_F(AuthenticatorTest, TokensNameTheirPrincipals) {
  const Authenticator tokens(AuthKind::kTokens, &table);
  EXPECT_EQ(*tokens.Identify(With(alice)), "alice");
  EXPECT_EQ(*tokens.Identify(With(bob)), "bob");
}

TEST_F(AuthenticatorTest, RefusesTokensThatAreNone) {
  EXPECT_EQ(Refusal(AuthKind::kTokens, With("")), "TOKEN_MISSING");
  EXPECT_EQ(Refusal(AuthKind::kTokens, Certificate("alice")), "TOKEN_MISSING");
  std::string last_changed = alice;
  last_changed.back() = last_changed.back() == '0' ? '1' : '0';
  const std::string bare = alice.substr(7);
  for (const std::string& wrong : {last_changed, alice.substr(0, alice.size() - 1), alice + "0", "Basic " + bare, bare,
                                   std::string("Bearer"), "Bearer " + TokenDigest(bare)}) {
    EXPECT_EQ(Refusal(AuthKind::kTokens, With(wrong)), "TOKEN_UNKNOWN");
  }
  CallerCredentials twice = With(alice);
  twice.authorization_count = 2;
  EXPECT_EQ(Refusal(AuthKind::kTokens, twice), "TOKEN_UNKNOWN");
}

TEST_F(AuthenticatorTest, RefusesExpiredTokens) {
  now += absl::Minutes(59);
  EXPECT_EQ(Refusal(AuthKind::kTokens, With(bob)), "identified as bob");
  now += absl::Minutes(1);
  EXPECT_EQ(Refusal(AuthKind::kTokens, With(bob)), "TOKEN_EXPIRED");
  EXPECT_EQ(Refusal(AuthKind::kTokens, With(alice)), "identified as alice");
}

TEST_F(AuthenticatorTest, RevocationsCountFromTheReload) {
  ASSERT_TRUE(ledger.RevokeToken(ledger.tokens[0].id).ok());
  ASSERT_TRUE(ledger.Revoke("bob").ok());
  EXPECT_EQ(Refusal(AuthKind::kTokens, With(alice)), "identified as alice");
  ASSERT_TRUE(table.Reload().ok());
  EXPECT_EQ(Refusal(AuthKind::kTokens, With(alice)), "TOKEN_REVOKED");
  EXPECT_EQ(Refusal(AuthKind::kTokens, With(bob)), "ACCOUNT_REVOKED");
  EXPECT_EQ(Refusal(AuthKind::kCertificates, Certificate("bob")), "ACCOUNT_REVOKED");
}

TEST_F(AuthenticatorTest, AFailedReloadChangesNothing) {
  ledger.failure = absl::UnavailableError("broken");
  EXPECT_FALSE(table.Reload().ok());
  EXPECT_EQ(Refusal(AuthKind::kTokens, With(alice)), "identified as alice");
}

TEST_F(AuthenticatorTest, CertificatesNamePrincipals) {
  EXPECT_EQ(Refusal(AuthKind::kCertificates, Certificate("alice")), "identified as alice");
  EXPECT_EQ(Refusal(AuthKind::kCertificates, Certificate("spiffe://example.org/alice")),
            "identified as spiffe://example.org/alice");
  EXPECT_EQ(Refusal(AuthKind::kCertificates, With("")), "CERTIFICATE_MISSING");
  EXPECT_EQ(Refusal(AuthKind::kCertificates, With(alice)), "CERTIFICATE_MISSING");
  // No name; one that forges a line of a log; one that ends early in C; the name of nobody.
  for (const std::string& name : {std::string(), std::string("a\nb"), std::string("alice\0.evil", 11),
                                  std::string("anonymous"), std::string(257, 'a'),
                                  std::string("al\xC3\xAD"
                                              "ce")}) {
    CallerCredentials caller = Certificate("");
    caller.certificate_name = name;
    EXPECT_EQ(Refusal(AuthKind::kCertificates, caller), "CERTIFICATE_NAME");
    caller.authorization_count = 1;
    caller.authorization = alice;
    EXPECT_EQ(Refusal(AuthKind::kTokens, caller), "CERTIFICATE_NAME");
  }
}

TEST_F(AuthenticatorTest, TokenAndCertificateMustAgree) {
  for (const AuthKind kind : {AuthKind::kTokens, AuthKind::kCertificates}) {
    EXPECT_EQ(Refusal(kind, With(alice, "alice")), "identified as alice");
    EXPECT_EQ(Refusal(kind, With(alice, "bob")), "IDENTITY_MISMATCH");
    EXPECT_EQ(Refusal(kind, With("Bearer nonsense", "alice")), "TOKEN_UNKNOWN");
  }
}

TEST(CheckPrincipal, TakesWhatLooksTheSameEverywhere) {
  for (const char* good : {"a", "alice", "alice@example.org", "spiffe://example.org/ns/a", "x=1;DROP"}) {
    EXPECT_TRUE(CheckPrincipal(good).ok()) << good;
  }
  for (const char* bad : {"", " alice", "al ice", "a\tb", "anonymous", "\x7f"}) {
    EXPECT_EQ(ErrorReason(CheckPrincipal(bad)), "PRINCIPAL_INVALID") << bad;
  }
}

}  // namespace
}  // namespace gradoracle
