#include "server/identity/server_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <sys/stat.h>

#include <array>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "core/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/operations/log.h"

namespace gradoracle {
namespace {

// What tells a changed file from an unchanged one. (A directory swapped under a symbolic link changes the inode.)
struct Stamp {
  ino_t inode = 0;
  off_t size = 0;
  int64_t modified_ns = 0;
  bool operator==(const Stamp&) const = default;
};
using Stamps = std::array<Stamp, 3>;

Stamps StampsOf(const TlsFiles& files) {
  Stamps stamps;
  const std::array<const std::string*, 3> paths = {&files.certificate, &files.key, &files.client_ca};
  for (size_t i = 0; i < paths.size(); ++i) {
    struct stat file = {};
    if (paths[i]->empty() || stat(paths[i]->c_str(), &file) != 0) continue;
    stamps[i] = {file.st_ino, file.st_size, int64_t{file.st_mtim.tv_sec} * 1'000'000'000 + file.st_mtim.tv_nsec};
  }
  return stamps;
}

// gRPC 1.51 asserts that there are roots, also where no caller is asked for a certificate: then the server's own stand
// in, which nobody is compared with.
grpc_ssl_server_certificate_config* ToConfig(const TlsContents& contents) {
  const grpc_ssl_pem_key_cert_pair pair = {contents.key.c_str(), contents.certificate.c_str()};
  const std::string& roots = contents.client_ca.empty() ? contents.certificate : contents.client_ca;
  return grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
}

// Hands gRPC the certificates, once and whenever they changed. Thread-safe.
class CertificateSource {
 public:
  CertificateSource(TlsFiles files, TlsContents contents, const Stamps& stamps)
      : files_(std::move(files)), contents_(std::move(contents)), stamps_(stamps) {}

  // In gRPC's words: NEW with a config for gRPC to own, or UNCHANGED. Called for every handshake.
  grpc_ssl_certificate_config_reload_status Fetch(grpc_ssl_server_certificate_config** config) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const absl::Time now = absl::Now();
    if (fetched_) Refresh(now);
    if (fetched_ && !changed_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    fetched_ = true;
    changed_ = false;
    *config = ToConfig(contents_);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

 private:
  // Files that were bad are tried again after a second, changed or not: the first reading may have met them half
  // written.
  void Refresh(absl::Time now) {
    const Stamps stamps = StampsOf(files_);
    const bool seen = stamps == stamps_;
    if (seen && (good_ || now < next_try_)) return;
    absl::StatusOr<TlsContents> contents = ReadTlsFiles(files_, now);
    if (!(StampsOf(files_) == stamps)) return;  // changed while being read: the next handshake looks again
    stamps_ = stamps;
    if (!contents.ok()) {
      if (!seen || good_) {
        Log(LogLevel::kWarning, "new certificates are not fit for use; serving with the former ones",
            {{"why", std::string(contents.status().message())}});
      }
      good_ = false;
      next_try_ = now + absl::Seconds(1);
      return;
    }
    good_ = true;
    changed_ = true;
    contents_ = *std::move(contents);
    Log(LogLevel::kInfo, "serving with new certificates", {{"expires", absl::FormatTime(contents_.expires)}});
    for (const std::string& warning : TlsWarnings(files_, contents_, now)) Log(LogLevel::kWarning, warning);
  }

  const TlsFiles files_;
  std::mutex mutex_;
  // All guarded by mutex_.
  TlsContents contents_;
  Stamps stamps_;
  bool fetched_ = false;  // gRPC has had contents_, or what came before them
  bool changed_ = false;  // contents_ is newer than what gRPC had
  bool good_ = true;      // the files as last read
  absl::Time next_try_ = absl::InfinitePast();
};

grpc_ssl_certificate_config_reload_status FetchConfig(void* source, grpc_ssl_server_certificate_config** config) {
  return static_cast<CertificateSource*>(source)->Fetch(config);
}

// gRPC's C interface has reloading by callback, its C++ interface only wraps certificates that stay.
class ReloadingCredentials final : public grpc::ServerCredentials {
 public:
  explicit ReloadingCredentials(grpc_server_credentials* credentials) : credentials_(credentials) {}
  ~ReloadingCredentials() override { grpc_server_credentials_release(credentials_); }

  // Callers are identified in admission: this hook does not exist for plaintext.
  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  grpc_server_credentials* const credentials_;
};

// gRPC keeps the callback's argument for as long as a server or a handshake uses it, and does not say when that ends:
// sources live as long as the process.
CertificateSource* Keep(std::unique_ptr<CertificateSource> source) {
  static std::mutex& mutex = *new std::mutex;
  static auto& sources = *new std::vector<std::unique_ptr<CertificateSource>>;
  const std::lock_guard<std::mutex> lock(mutex);
  return sources.emplace_back(std::move(source)).get();
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeTlsCredentials(const TlsFiles& files,
                                                                            bool require_client_certificate) {
  const absl::Time now = absl::Now();
  const Stamps stamps = StampsOf(files);
  GRADORACLE_ASSIGN_OR_RETURN(TlsContents contents, ReadTlsFiles(files, now));
  for (const std::string& warning : TlsWarnings(files, contents, now)) Log(LogLevel::kWarning, warning);
  grpc_ssl_client_certificate_request_type request = GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE;
  if (!files.client_ca.empty()) {
    request = require_client_certificate ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                         : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY;
  }
  grpc::GrpcLibraryCodegen library;  // initialises gRPC, should nothing have done so yet
  CertificateSource* const source = Keep(std::make_unique<CertificateSource>(files, std::move(contents), stamps));
  grpc_server_credentials* const credentials = grpc_ssl_server_credentials_create_with_options(
      grpc_ssl_server_credentials_create_options_using_config_fetcher(request, FetchConfig, source));
  return std::make_shared<ReloadingCredentials>(credentials);
}

}  // namespace gradoracle
