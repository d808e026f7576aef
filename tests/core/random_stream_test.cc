#include "core/random_stream.h"

#include <array>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "openssl/evp.h"

namespace gradoracle {
namespace {

RequestKey KeyFromHex(absl::string_view hex) {
  const std::string bytes = absl::HexStringToBytes(hex);
  RequestKey key;
  std::memcpy(key.data(), bytes.data(), key.size());
  return key;
}

// key 000102...1f
RequestKey CountingKey() { return KeyFromHex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"); }

std::string Encrypt(const EVP_CIPHER* cipher, const RequestKey& key, const std::string& iv, const std::string& text) {
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  std::string out(text.size(), '\0');
  int written = 0;
  EXPECT_EQ(1, EVP_EncryptInit_ex(context, cipher, nullptr, key.data(),
                                  iv.empty() ? nullptr : reinterpret_cast<const unsigned char*>(iv.data())));
  EXPECT_EQ(1, EVP_CIPHER_CTX_set_padding(context, 0));
  EXPECT_EQ(1, EVP_EncryptUpdate(context, reinterpret_cast<unsigned char*>(out.data()), &written,
                                 reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size())));
  EVP_CIPHER_CTX_free(context);
  return out;
}

std::string Bytes(const std::vector<uint64_t>& words) {
  return std::string(reinterpret_cast<const char*>(words.data()), words.size() * sizeof(uint64_t));
}

// Catches a library whose AES-256 is not AES-256: the standard's own vectors for the two modes used below.
TEST(RandomStreamTest, CipherMeetsNistVectors) {
  // SP 800-38A, F.5.5 CTR-AES256.Encrypt, all four blocks.
  EXPECT_EQ(absl::BytesToHexString(Encrypt(
                EVP_aes_256_ctr(), KeyFromHex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
                absl::HexStringToBytes("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"),
                absl::HexStringToBytes("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
                                       "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"))),
            "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
            "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6");
  // FIPS 197, C.3.
  EXPECT_EQ(absl::BytesToHexString(Encrypt(EVP_aes_256_ecb(), CountingKey(), "",
                                           absl::HexStringToBytes("00112233445566778899aabbccddeeff"))),
            "8ea2b7ca516745bfeafc49904b496089");
}

// Catches any departure from the documented counter layout (order of bytes, place of purpose and index, first block
// number, order of bytes in a word): every block is encrypted by itself from a counter written out by hand.
TEST(RandomStreamTest, LayoutIsTheDocumentedOne) {
  RandomStream stream(CountingKey());
  for (const RandomPurpose purpose : {RandomPurpose::kRows, RandomPurpose::kNoise, RandomPurpose::kEpoch}) {
    for (const uint64_t index : {uint64_t{0}, uint64_t{1}, uint64_t{0x0123456789abcd}, (uint64_t{1} << 56) - 1}) {
      std::vector<uint64_t> words(601);  // 300 blocks and a half: past one byte of block number
      stream.Fill(purpose, index, absl::MakeSpan(words));
      for (size_t block = 0; 2 * block < words.size(); ++block) {
        std::string counter(16, '\0');
        counter[0] = static_cast<char>(purpose);
        for (int i = 0; i < 7; ++i) counter[1 + i] = static_cast<char>(index >> (8 * (6 - i)));
        for (int i = 0; i < 8; ++i) counter[8 + i] = static_cast<char>(uint64_t{block} >> (8 * (7 - i)));
        const std::string expected = Encrypt(EVP_aes_256_ecb(), CountingKey(), "", counter);
        for (size_t half = 0; half < 2 && 2 * block + half < words.size(); ++half) {
          uint64_t word = 0;
          for (int i = 7; i >= 0; --i) word = word << 8 | static_cast<uint8_t>(expected[8 * half + i]);
          ASSERT_EQ(words[2 * block + half], word) << "block " << block;
        }
      }
    }
  }
}

// Frozen: written by another program,
//   head -c 48 /dev/zero | openssl enc -aes-256-ctr -K 000102..1f -iv 02000000000000070000000000000000 | xxd -p
// Catches a change of the bytes that requests already answered were answered with.
TEST(RandomStreamTest, GoldenVector) {
  RandomStream stream(CountingKey());
  std::vector<uint64_t> words(6);
  stream.Fill(RandomPurpose::kNoise, 7, absl::MakeSpan(words));
  EXPECT_EQ(absl::BytesToHexString(Bytes(words)),
            "cd8f2d5da1ba2d169569aa4e949fa4e8f2f2b274bce9fe833d754816602b4c51c33bf425fffc4b9e950a05be2df21197");
}

// Catches a stream that is consumed instead of addressed.
TEST(RandomStreamTest, RangesAreAddressedNotConsumed) {
  RandomStream stream(CountingKey());
  std::vector<uint64_t> first(100), other(7), again(100), shorter(33);
  stream.Fill(RandomPurpose::kRows, 5, absl::MakeSpan(first));
  stream.Fill(RandomPurpose::kNoise, 9, absl::MakeSpan(other));
  stream.Fill(RandomPurpose::kRows, 5, absl::MakeSpan(again));
  EXPECT_EQ(first, again);
  stream.Fill(RandomPurpose::kRows, 5, absl::MakeSpan(shorter));
  EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(), first.begin()));

  RandomStream moved = std::move(stream);
  moved.Fill(RandomPurpose::kRows, 5, absl::MakeSpan(again));
  EXPECT_EQ(first, again);
  stream = RandomStream(CountingKey());
  stream.Fill(RandomPurpose::kRows, 5, absl::MakeSpan(again));
  EXPECT_EQ(first, again);
  moved.Fill(RandomPurpose::kRows, 5, {});  // an empty range is nothing, not an error
}

// Catches purposes or indices that share words: among 300 blocks of 64 words no word occurs twice. With ideal words the
// chance of a repetition is (300 * 64)^2 / 2^65, about 1e-11.
TEST(RandomStreamTest, RangesDoNotOverlap) {
  RandomStream stream(CountingKey());
  std::set<uint64_t> seen;
  for (const RandomPurpose purpose : {RandomPurpose::kRows, RandomPurpose::kNoise, RandomPurpose::kEpoch}) {
    for (uint64_t index = 0; index < 100; ++index) {
      std::vector<uint64_t> words(64);
      stream.Fill(purpose, index, absl::MakeSpan(words));
      seen.insert(words.begin(), words.end());
    }
  }
  EXPECT_EQ(seen.size(), 3u * 100 * 64);
}

TEST(RandomStreamDeathTest, IndexBeyondTheCounterStopsTheProcess) {
  RandomStream stream(CountingKey());
  std::vector<uint64_t> words(1);
  EXPECT_DEATH(stream.Fill(RandomPurpose::kRows, uint64_t{1} << 56, absl::MakeSpan(words)), "index not below 2\\^56");
}

// FIPS 180-4 examples. Catches the wrong hash.
TEST(Sha256Test, KnownAnswers) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(absl::BytesToHexString(Sha256("abc")), Sha256Hex("abc"));
}

// HMAC from its definition (RFC 2104), for keys of at most 64 bytes.
std::string HmacSha256(std::string key, const std::string& message) {
  key.resize(64, '\0');
  std::string inner = key, outer = key;
  for (char& c : inner) c ^= 0x36;
  for (char& c : outer) c ^= 0x5c;
  return Sha256(outer + Sha256(inner + message));
}

std::string LengthPrefixed(const std::string& field) {
  return std::string(7, '\0') + static_cast<char>(field.size()) + field;
}

// Catches another PRF or encoding than the documented one: HMAC by its definition, itself held to RFC 4231, over the
// encoding written out here.
TEST(ProcessSecretTest, RequestKeyIsHmacOfTheDocumentedEncoding) {
  ASSERT_EQ(absl::BytesToHexString(HmacSha256(std::string(20, '\x0b'), "Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");  // RFC 4231, 4.2
  ASSERT_EQ(absl::BytesToHexString(HmacSha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");  // RFC 4231, 4.3
  const RequestKey secret = CountingKey();
  const auto key = ProcessSecret(secret).DeriveRequestKey("alice", "r-1", "digest");
  ASSERT_TRUE(key.ok());
  const std::string message = "gradoracle request key v1" + LengthPrefixed("alice") + std::string(1, '\0') +
                              LengthPrefixed("r-1") + LengthPrefixed("digest");
  EXPECT_EQ(std::string(key->begin(), key->end()), HmacSha256(std::string(secret.begin(), secret.end()), message));
}

// Catches fields left out of the key or joined without their lengths. All of these must differ, and the same three give
// the same key: that is what a retry relies on.
TEST(ProcessSecretTest, KeysDifferWheneverAnyFieldDoes) {
  const ProcessSecret secret(CountingKey());
  const ProcessSecret other_secret(KeyFromHex(std::string(64, '7')));
  std::set<RequestKey> keys;
  size_t expected = 0;
  for (const auto& [principal, id, digest] :
       std::vector<std::array<std::string, 3>>{{"alice", "1", "d"},
                                               {"bob", "1", "d"},
                                               {"alice", "2", "d"},
                                               {"alice", "1", "e"},
                                               {"ab", "c", "d"},
                                               {"a", "bc", "d"},
                                               {"abc", "d", ""},
                                               {"", "abc", "d"},
                                               {"a", "b", "cd"},
                                               {"a", "bcd", ""},
                                               {"a", std::string("b\0c", 3), "d"},
                                               {"a", "b", std::string("\0cd", 3)},
                                               {std::string("a\0", 2), "bc", "d"}}) {
    const auto key = secret.DeriveRequestKey(principal, id, digest);
    ASSERT_TRUE(key.ok());
    EXPECT_EQ(*key, *secret.DeriveRequestKey(principal, id, digest));
    keys.insert(*key);
    keys.insert(*other_secret.DeriveRequestKey(principal, id, digest));
    expected += 2;
  }
  EXPECT_EQ(keys.size(), expected);
}

// Catches unnamed requests that share a key, and secrets or identifiers that repeat. Chance of a false alarm: 2^-115.
TEST(ProcessSecretTest, UnnamedRequestsAndSecretsAreFresh) {
  std::set<RequestKey> keys;
  std::set<std::string> identifiers;
  const auto secret = ProcessSecret::Generate();
  const auto second_secret = ProcessSecret::Generate();
  ASSERT_TRUE(secret.ok() && second_secret.ok());
  for (int i = 0; i < 50; ++i) {
    keys.insert(*secret->DeriveRequestKey("alice", "", "d"));
    identifiers.insert(*RandomIdentifier());
  }
  EXPECT_EQ(keys.size(), 50u);
  EXPECT_EQ(identifiers.size(), 50u);
  EXPECT_THAT(*identifiers.begin(), ::testing::MatchesRegex("[0-9a-f]{32}"));
  EXPECT_NE(*secret->DeriveRequestKey("alice", "1", "d"), *second_secret->DeriveRequestKey("alice", "1", "d"));
}

}  // namespace
}  // namespace gradoracle
