#ifndef GRADORACLE_TESTS_SERVER_LEDGER_LEDGER_TESTS_H_
#define GRADORACLE_TESTS_SERVER_LEDGER_LEDGER_TESTS_H_

#include <cstdint>
#include <filesystem>
#include <future>
#include <string>

#include "absl/status/status.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "gtest/gtest.h"
#include "server/ledger/ledger.h"

namespace gradoracle {

// A folder of its own, gone with it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "gradoracle-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "no temporary folder";
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline std::string Digest(const std::string& content) { return Sha256(content); }

// A piece of an unnamed request, or of the request `id` with its first content.
inline ChargeRequest Piece(const std::string& principal, const std::string& id, int64_t first, int64_t count,
                           bool begins = true, const std::string& content = "content") {
  return {principal, id, Digest(content), first, count, begins};
}

// Charges and waits.
inline absl::Status ChargeNow(Ledger& ledger, const ChargeRequest& request) {
  std::promise<absl::Status> result;
  ledger.Charge(request, [&](const absl::Status& status) { result.set_value(status); });
  return result.get_future().get();
}

inline void ExpectRefused(const absl::Status& status, absl::StatusCode code, const std::string& reason,
                          const std::string& field = "") {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_EQ(ErrorReason(status).value_or(""), reason) << status;
  EXPECT_EQ(ErrorField(status).value_or(""), field) << status;
}

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_SERVER_LEDGER_LEDGER_TESTS_H_
