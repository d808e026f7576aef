#include "server/identity/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/freer.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

using Bio = std::unique_ptr<BIO, Freer<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;

absl::StatusOr<std::string> Read(const std::string& path, absl::string_view field, absl::string_view flag);
Bio Memory(const std::string& text);
std::vector<Certificate> ParseCertificates(const std::string& pem);
Key ParseKey(const std::string& pem);
absl::Time ToTime(const ASN1_TIME* time);
std::string Day(absl::Time time);

}  // namespace

TlsFiles TlsFilesOf(const ServerConfig& config) {
  return {.certificate = config.tls_cert, .key = config.tls_key, .client_ca = config.client_ca};
}

absl::StatusOr<TlsContents> ReadTlsFiles(const TlsFiles& files, absl::Time now) {
  TlsContents contents;
  GRADORACLE_ASSIGN_OR_RETURN(contents.certificate, Read(files.certificate, "tls_cert", "--tls-cert"));
  GRADORACLE_ASSIGN_OR_RETURN(contents.key, Read(files.key, "tls_key", "--tls-key"));
  const std::vector<Certificate> chain = ParseCertificates(contents.certificate);
  if (chain.empty()) {
    return InvalidField("TLS_CERTIFICATE_INVALID", "tls_cert",
                        absl::StrCat("--tls-cert ", files.certificate, ": holds no certificate in PEM"));
  }
  const Key key = ParseKey(contents.key);
  if (key == nullptr) {
    return InvalidField("TLS_KEY_INVALID", "tls_key",
                        absl::StrCat("--tls-key ", files.key, ": holds no private key in PEM, or an encrypted one"));
  }
  if (X509_check_private_key(chain.front().get(), key.get()) != 1) {
    ERR_clear_error();
    return InvalidField(
        "TLS_KEY_MISMATCH", "tls_key",
        absl::StrCat("--tls-key ", files.key, ": is not the key of the first certificate in ", files.certificate));
  }
  contents.valid_from = ToTime(X509_get0_notBefore(chain.front().get()));
  contents.expires = ToTime(X509_get0_notAfter(chain.front().get()));
  if (now >= contents.expires) {
    return InvalidField("TLS_CERTIFICATE_EXPIRED", "tls_cert",
                        absl::StrCat("--tls-cert ", files.certificate, ": expired on ", Day(contents.expires),
                                     "; nobody would accept it"));
  }
  if (files.client_ca.empty()) return contents;
  GRADORACLE_ASSIGN_OR_RETURN(contents.client_ca, Read(files.client_ca, "client_ca", "--client-ca"));
  if (ParseCertificates(contents.client_ca).empty()) {
    return InvalidField("TLS_CLIENT_CA_INVALID", "client_ca",
                        absl::StrCat("--client-ca ", files.client_ca, ": holds no certificate in PEM"));
  }
  return contents;
}

std::vector<std::string> TlsWarnings(const TlsFiles& files, const TlsContents& contents, absl::Time now) {
  constexpr absl::Duration kSoon = absl::Hours(14 * 24);
  std::vector<std::string> warnings;
  struct stat key = {};
  if (stat(files.key.c_str(), &key) == 0 && (key.st_mode & (S_IRGRP | S_IROTH | S_IWGRP | S_IWOTH)) != 0) {
    warnings.push_back(
        absl::StrCat("--tls-key ", files.key, ": others on this machine can read or change it; chmod 600 it"));
  }
  if (now < contents.valid_from) {
    warnings.push_back(
        absl::StrCat("--tls-cert ", files.certificate, ": is valid only from ", Day(contents.valid_from)));
  }
  if (now + kSoon >= contents.expires) {
    warnings.push_back(absl::StrCat("--tls-cert ", files.certificate, ": expires on ", Day(contents.expires),
                                    "; put a new one in its place, no restart needed"));
  }
  return warnings;
}

namespace {

absl::StatusOr<std::string> Read(const std::string& path, absl::string_view field, absl::string_view flag) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (file && !text.str().empty()) return text.str();
  const std::string why = errno != 0 ? std::strerror(errno) : "it is empty";
  return MakeError(absl::StatusCode::kNotFound, "FILE_UNREADABLE", field,
                   absl::StrCat(flag, " ", path, ": cannot be read: ", why));
}

Bio Memory(const std::string& text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

// Empty when any block that calls itself a certificate is none.
std::vector<Certificate> ParseCertificates(const std::string& pem) {
  std::vector<Certificate> chain;
  const Bio bio = Memory(pem);
  while (Certificate certificate{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    chain.push_back(std::move(certificate));
  }
  const unsigned long last = ERR_peek_last_error();
  const bool at_end = ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) chain.clear();
  return chain;
}

// An encrypted key has no passphrase here: a server that starts by itself has nobody to ask.
Key ParseKey(const std::string& pem) {
  const Bio bio = Memory(pem);
  Key key(PEM_read_bio_PrivateKey(
      bio.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr));
  ERR_clear_error();
  return key;
}

absl::Time ToTime(const ASN1_TIME* time) {
  std::tm broken_down = {};
  if (ASN1_TIME_to_tm(time, &broken_down) != 1) return absl::InfinitePast();
  return absl::FromTM(broken_down, absl::UTCTimeZone());
}

std::string Day(absl::Time time) { return absl::FormatTime("%Y-%m-%d %H:%M UTC", time, absl::UTCTimeZone()); }

}  // namespace
}  // namespace gradoracle
