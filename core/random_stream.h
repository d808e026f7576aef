#ifndef GRADORACLE_CORE_RANDOM_STREAM_H_
#define GRADORACLE_CORE_RANDOM_STREAM_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// Random numbers of the oracle (design 4). One request has one AES-256-CTR stream, addressed, not consumed: word j of
// (purpose, index) is always the same, so the bytes of gradient k depend neither on threads nor on chunks, and a broken
// stream can resume anywhere.
namespace gradoracle {

using RequestKey = std::array<uint8_t, 32>;  // an AES-256 key

// What a range of the stream is for. Part of the counter, so ranges never overlap.
enum class RandomPurpose : uint8_t { kRows = 1, kNoise = 2, kEpoch = 3, kIsotropic = 4 };

// Overwrites a key that is no longer needed.
void WipeKey(RequestKey& key);

// Addressable random words under one key. Counter block (128 bit, big-endian):
//   byte 0: purpose;  bytes 1-7: index (gradient or epoch number, < 2^56);  bytes 8-15: block number within the range.
// Word j of a range is the little-endian 64-bit word j of its key stream. Not thread-safe; copyable by key only.
class RandomStream {
 public:
  explicit RandomStream(const RequestKey& key);
  ~RandomStream();
  RandomStream(RandomStream&&) noexcept;
  RandomStream& operator=(RandomStream&&) noexcept;

  // Fills `words` with words [0, words.size()) of (purpose, index).
  void Fill(RandomPurpose purpose, uint64_t index, absl::Span<uint64_t> words);

 private:
  struct Cipher;
  std::unique_ptr<Cipher> cipher_;
};

// The secret a serving process draws once, from the operating system's generator; never printed, wiped on destruction.
class ProcessSecret {
 public:
  // Errors: kInternal when the generator fails: then nothing may be served.
  static absl::StatusOr<ProcessSecret> Generate();
  explicit ProcessSecret(const std::array<uint8_t, 32>& bytes);  // tests hand one in
  ~ProcessSecret();
  ProcessSecret(const ProcessSecret&) = default;
  ProcessSecret& operator=(const ProcessSecret&) = default;

  // PRF: HMAC-SHA256 over a domain tag and the length-prefixed principal, request id and digest. An empty request id is
  // replaced by 128 fresh bits. Two requests that differ in any of the three never share a key.
  absl::StatusOr<RequestKey> DeriveRequestKey(absl::string_view principal, absl::string_view request_id,
                                              absl::string_view digest) const;

 private:
  std::array<uint8_t, 32> bytes_;
};

// 128 random bits in lower-case hex, from the operating system's generator.
absl::StatusOr<std::string> RandomIdentifier();

// SHA-256 of `bytes`: 32 raw bytes / lower-case hex.
std::string Sha256(absl::string_view bytes);
std::string Sha256Hex(absl::string_view bytes);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_RANDOM_STREAM_H_
