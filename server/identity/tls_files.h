#ifndef GRADORACLE_SERVER_IDENTITY_TLS_FILES_H_
#define GRADORACLE_SERVER_IDENTITY_TLS_FILES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/config/config.h"

namespace gradoracle {

// Where the server's certificates are, all PEM.
struct TlsFiles {
  std::string certificate;  // --tls-cert: the server's own first, then those between it and the root
  std::string key;          // --tls-key: of the first certificate, not encrypted
  std::string client_ca;    // --client-ca: who vouches for callers; empty: nobody is asked for a certificate
};

// The files that the settings name. Requires --tls-cert to be set.
TlsFiles TlsFilesOf(const ServerConfig& config);

// What is in them. Fit for use together: see ReadTlsFiles.
struct TlsContents {
  std::string certificate;
  std::string key;
  std::string client_ca;
  absl::Time valid_from;  // of the first certificate
  absl::Time expires;
};

// Reads all files and checks them together, without touching the network.
// Errors name the flag and the file, never what is in a key: kNotFound FILE_UNREADABLE; kInvalidArgument
// TLS_CERTIFICATE_INVALID, TLS_KEY_INVALID (not PEM, or encrypted), TLS_KEY_MISMATCH (the key is not the
// certificate's), TLS_CERTIFICATE_EXPIRED (at `now`), TLS_CLIENT_CA_INVALID.
absl::StatusOr<TlsContents> ReadTlsFiles(const TlsFiles& files, absl::Time now);

// What the owner should know: a key that others of this machine may read, a certificate that is not valid yet or ends
// within 14 days.
std::vector<std::string> TlsWarnings(const TlsFiles& files, const TlsContents& contents, absl::Time now);

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_IDENTITY_TLS_FILES_H_
