#ifndef GRADORACLE_TESTS_SERVER_IDENTITY_TEST_CERTIFICATES_H_
#define GRADORACLE_TESTS_SERVER_IDENTITY_TEST_CERTIFICATES_H_

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace gradoracle {

// Certificates made by the program openssl, in a folder that goes away with this object.
class TestCertificates {
 public:
  TestCertificates() {
    std::string pattern = absl::StrCat(testing::TempDir(), "/certificates.XXXXXX");
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  ~TestCertificates() { std::filesystem::remove_all(folder_); }
  TestCertificates(const TestCertificates&) = delete;
  TestCertificates& operator=(const TestCertificates&) = delete;

  std::string Path(const std::string& file) const { return absl::StrCat(folder_, "/", file); }
  std::string Text(const std::string& file) const {
    std::ifstream in(Path(file));
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }

  // NAME.pem and NAME.key of an authority.
  void MakeAuthority(const std::string& name) const {
    Run(absl::StrCat("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=", name,
                     " -keyout ", name, ".key -out ", name, ".pem"));
  }
  // NAME.pem and NAME.key vouched for by an authority; `names` such as "DNS:localhost,IP:127.0.0.1", empty: none.
  // days < 0: expired.
  void Make(const std::string& name, const std::string& authority, const std::string& names, int days = 30) const {
    Run(absl::StrCat("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=", name, " -keyout ",
                     name, ".key -out ", name, ".csr"));
    std::ofstream(Path("extensions")) << (names.empty() ? "basicConstraints=CA:FALSE\n"
                                                        : absl::StrCat("subjectAltName=", names, "\n"));
    Run(absl::StrCat("openssl x509 -req -in ", name, ".csr -CA ", authority, ".pem -CAkey ", authority,
                     ".key -CAcreateserial -days ", days, " -extfile extensions -out ", name, ".pem"));
  }
  void Run(const std::string& command) const {
    EXPECT_EQ(std::system(absl::StrCat("cd ", folder_, " && ", command, " 2>openssl.log >&2").c_str()), 0)
        << command << "\n"
        << Text("openssl.log");
  }

 private:
  std::string folder_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_SERVER_IDENTITY_TEST_CERTIFICATES_H_
