#include "core/random_stream.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/escaping.h"
#include "core/errors.h"
#include "openssl/crypto.h"
#include "openssl/evp.h"
#include "openssl/hmac.h"
#include "openssl/rand.h"
#include "openssl/sha.h"

namespace gradoracle {
namespace {

// What a request key is for, so that another use of the same secret can never yield the same bytes.
constexpr absl::string_view kRequestKeyDomain = "gradoracle request key v1";

// Bytes per EVP call: its lengths are int. A multiple of the block size, so that the counter carries on.
constexpr size_t kLargestUpdate = size_t{1} << 30;

// A cipher that fails half-way would leave zeros or old bytes where noise belongs; no answer is better than that one.
void DieUnless(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "gradoracle: the random stream failed (%s); stopping, as an answer without noise is worse\n",
               what);
  std::abort();
}

// Fetched once: OpenSSL 3 otherwise looks the algorithm up by name at every initialisation. Lives as long as the
// process.
const EVP_CIPHER* Aes256Ctr() {
  static const EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-CTR", nullptr);
  return cipher;
}

absl::Status FillFromOperatingSystem(absl::Span<uint8_t> bytes) {
  if (RAND_priv_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInternal, "RANDOM_GENERATOR_FAILED", "",
                   "the operating system's random generator failed: nothing can be served without it");
}

// Length (8 bytes, big-endian), then the bytes: no two lists of fields have the same encoding.
void AppendLengthPrefixed(absl::string_view field, std::string& message) {
  for (int shift = 56; shift >= 0; shift -= 8) message.push_back(static_cast<char>(field.size() >> shift & 0xff));
  message.append(field.data(), field.size());
}

std::array<uint8_t, 16> FirstCounterBlock(RandomPurpose purpose, uint64_t index) {
  std::array<uint8_t, 16> block{};
  block[0] = static_cast<uint8_t>(purpose);
  for (int byte = 7; byte >= 1; --byte, index >>= 8) block[byte] = static_cast<uint8_t>(index & 0xff);
  DieUnless(index == 0, "index not below 2^56");
  return block;
}

}  // namespace

struct RandomStream::Cipher {
  Cipher() : context(EVP_CIPHER_CTX_new()) { DieUnless(context != nullptr, "no memory for a cipher"); }
  ~Cipher() { EVP_CIPHER_CTX_free(context); }  // wipes the expanded key
  Cipher(const Cipher&) = delete;
  Cipher& operator=(const Cipher&) = delete;

  EVP_CIPHER_CTX* context;
};

RandomStream::RandomStream(const RequestKey& key) : cipher_(std::make_unique<Cipher>()) {
  const std::array<uint8_t, 16> zero{};
  DieUnless(Aes256Ctr() != nullptr &&
                EVP_EncryptInit_ex2(cipher_->context, Aes256Ctr(), key.data(), zero.data(), nullptr) == 1,
            "no AES-256-CTR");
}

RandomStream::~RandomStream() = default;
RandomStream::RandomStream(RandomStream&&) noexcept = default;
RandomStream& RandomStream::operator=(RandomStream&&) noexcept = default;

void RandomStream::Fill(RandomPurpose purpose, uint64_t index, absl::Span<uint64_t> words) {
  const std::array<uint8_t, 16> counter = FirstCounterBlock(purpose, index);
  DieUnless(EVP_EncryptInit_ex2(cipher_->context, nullptr, nullptr, counter.data(), nullptr) == 1, "counter not set");
  // Key stream = encryption of zeros, in place. x86-64 is little-endian, as the words are.
  std::fill(words.begin(), words.end(), 0);
  auto* bytes = reinterpret_cast<uint8_t*>(words.data());
  for (size_t left = words.size() * sizeof(uint64_t); left > 0;) {
    const size_t step = std::min(left, kLargestUpdate);
    int written = 0;
    DieUnless(EVP_EncryptUpdate(cipher_->context, bytes, &written, bytes, static_cast<int>(step)) == 1 &&
                  static_cast<size_t>(written) == step,
              "encryption");
    bytes += step;
    left -= step;
  }
}

void WipeKey(RequestKey& key) { OPENSSL_cleanse(key.data(), key.size()); }

absl::StatusOr<ProcessSecret> ProcessSecret::Generate() {
  std::array<uint8_t, 32> bytes;
  if (absl::Status status = FillFromOperatingSystem(absl::MakeSpan(bytes)); !status.ok()) return status;
  ProcessSecret secret(bytes);
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return secret;
}

ProcessSecret::ProcessSecret(const std::array<uint8_t, 32>& bytes) : bytes_(bytes) {}

ProcessSecret::~ProcessSecret() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

absl::StatusOr<RequestKey> ProcessSecret::DeriveRequestKey(absl::string_view principal, absl::string_view request_id,
                                                           absl::string_view digest) const {
  std::string message(kRequestKeyDomain);
  AppendLengthPrefixed(principal, message);
  if (request_id.empty()) {
    std::array<uint8_t, 16> fresh;
    if (absl::Status status = FillFromOperatingSystem(absl::MakeSpan(fresh)); !status.ok()) return status;
    message.push_back('\1');  // apart from every name a caller could choose
    AppendLengthPrefixed(absl::string_view(reinterpret_cast<const char*>(fresh.data()), fresh.size()), message);
  } else {
    message.push_back('\0');
    AppendLengthPrefixed(request_id, message);
  }
  AppendLengthPrefixed(digest, message);

  RequestKey key;
  unsigned int length = 0;
  const bool done =
      HMAC(EVP_sha256(), bytes_.data(), static_cast<int>(bytes_.size()),
           reinterpret_cast<const unsigned char*>(message.data()), message.size(), key.data(), &length) != nullptr &&
      length == key.size();
  OPENSSL_cleanse(message.data(), message.size());  // the fresh id is half of an unnamed request's secret
  if (!done) {
    return MakeError(absl::StatusCode::kInternal, "RANDOM_GENERATOR_FAILED", "", "HMAC-SHA256 failed: no request key");
  }
  return key;
}

absl::StatusOr<std::string> RandomIdentifier() {
  std::array<uint8_t, 16> bytes;
  if (absl::Status status = FillFromOperatingSystem(absl::MakeSpan(bytes)); !status.ok()) return status;
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

std::string Sha256(absl::string_view bytes) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

std::string Sha256Hex(absl::string_view bytes) { return absl::BytesToHexString(Sha256(bytes)); }

}  // namespace gradoracle
