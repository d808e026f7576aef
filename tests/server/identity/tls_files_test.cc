#include "server/identity/tls_files.h"

#include <sys/stat.h>

#include <fstream>
#include <string>

#include "absl/time/clock.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/identity/test_certificates.h"

namespace gradoracle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

struct TlsFilesTest : testing::Test {
  TlsFilesTest() {
    made.MakeAuthority("ca");
    made.Make("server", "ca", "DNS:localhost");
    made.Make("other", "ca", "DNS:localhost");
    files = {.certificate = made.Path("server.pem"), .key = made.Path("server.key"), .client_ca = made.Path("ca.pem")};
  }
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(made.Path(name)) << text;
    return made.Path(name);
  }
  void ExpectRefused(const std::string& reason, const std::string& field, const std::string& path) {
    const auto contents = ReadTlsFiles(files, absl::Now());
    EXPECT_EQ(ErrorReason(contents.status()).value_or(""), reason) << contents.status();
    EXPECT_EQ(ErrorField(contents.status()).value_or(""), field) << contents.status();
    EXPECT_THAT(std::string(contents.status().message()), HasSubstr(path));
  }

  TestCertificates made;
  TlsFiles files;
};

TEST_F(TlsFilesTest, ReadsWhatFits) {
  const auto contents = ReadTlsFiles(files, absl::Now());
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->certificate, made.Text("server.pem"));
  EXPECT_EQ(contents->key, made.Text("server.key"));
  EXPECT_EQ(contents->client_ca, made.Text("ca.pem"));
  EXPECT_LT(contents->expires, absl::Now() + absl::Hours(24 * 31));
  files.certificate = Write("chain.pem", made.Text("server.pem") + made.Text("ca.pem"));
  files.client_ca = "";
  EXPECT_TRUE(ReadTlsFiles(files, absl::Now()).ok());
}

TEST_F(TlsFilesTest, RefusesAKeyOfAnotherCertificate) {
  files.key = made.Path("other.key");
  ExpectRefused("TLS_KEY_MISMATCH", "tls_key", files.key);
}

TEST_F(TlsFilesTest, RefusesWhatIsNoPem) {
  files.certificate = Write("bad.pem", "hello");
  ExpectRefused("TLS_CERTIFICATE_INVALID", "tls_cert", files.certificate);
  const std::string whole = made.Text("server.pem");
  files.certificate = Write("cut.pem", whole + whole.substr(0, whole.size() / 2));
  ExpectRefused("TLS_CERTIFICATE_INVALID", "tls_cert", files.certificate);
  files.certificate = made.Path("server.pem");
  files.client_ca = made.Path("server.key");
  ExpectRefused("TLS_CLIENT_CA_INVALID", "client_ca", files.client_ca);
  files.key = made.Path("server.pem");
  ExpectRefused("TLS_KEY_INVALID", "tls_key", files.key);
  made.Run("openssl ec -in server.key -aes256 -passout pass:x -out locked.key");
  files.key = made.Path("locked.key");
  ExpectRefused("TLS_KEY_INVALID", "tls_key", files.key);
}

TEST_F(TlsFilesTest, RefusesWhatCannotBeRead) {
  files.key = made.Path("none.key");
  ExpectRefused("FILE_UNREADABLE", "tls_key", files.key);
  files.certificate = Write("empty.pem", "");
  ExpectRefused("FILE_UNREADABLE", "tls_cert", files.certificate);
  files.certificate = made.Path("");  // a folder
  ExpectRefused("FILE_UNREADABLE", "tls_cert", files.certificate);
}

TEST_F(TlsFilesTest, RefusesAnExpiredCertificate) {
  made.Make("old", "ca", "DNS:localhost", -1);
  files.certificate = made.Path("old.pem");
  files.key = made.Path("old.key");
  ExpectRefused("TLS_CERTIFICATE_EXPIRED", "tls_cert", files.certificate);
}

TEST_F(TlsFilesTest, WarnsOfOpenKeysAndDatesThatAreNear) {
  ASSERT_EQ(chmod(files.key.c_str(), 0600), 0);
  const absl::Time now = absl::Now();
  const auto contents = ReadTlsFiles(files, now);
  ASSERT_TRUE(contents.ok());
  EXPECT_THAT(TlsWarnings(files, *contents, now), ElementsAre());
  EXPECT_THAT(TlsWarnings(files, *contents, now + absl::Hours(24 * 17)), ElementsAre(HasSubstr("expires on")));
  EXPECT_THAT(TlsWarnings(files, *contents, now - absl::Hours(24)), ElementsAre(HasSubstr("valid only from")));
  ASSERT_EQ(chmod(files.key.c_str(), 0640), 0);
  EXPECT_THAT(TlsWarnings(files, *contents, now), ElementsAre(HasSubstr("chmod 600")));
}

}  // namespace
}  // namespace gradoracle
