#include "core/npy.h"

#include <sys/resource.h>

#include <array>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/npy_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class NpyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              absl::StrCat("npy_test_", ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ / name; }
  // Names of the files in the folder.
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) names.push_back(entry.path().filename());
    return names;
  }
  static std::string Contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream contents;
    contents << file.rdbuf();
    return contents.str();
  }

 private:
  std::filesystem::path folder_;
};

// The bytes NumPy 1.24 writes for np.array([[1.5, -2.0]]) by np.save: the known answer.
TEST_F(NpyTest, WritesWhatNumPyWrites) {
  ASSERT_TRUE(WriteNpy(Path("m.npy"), (RowMajorMatrix(1, 2) << 1.5, -2).finished()).ok());
  const std::string dictionary = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }";
  const std::string header =
      std::string("\x93NUMPY\x01\x00\x76\x00", 10) + dictionary + std::string(118 - dictionary.size() - 1, ' ') + "\n";
  EXPECT_EQ(Contents(Path("m.npy")), header + std::string("\0\0\0\0\0\0\xf8\x3f\0\0\0\0\0\0\0\xc0", 16));
  ASSERT_TRUE(WriteNpyVector(Path("v.npy"), Eigen::Vector3d(1, 2, 3)).ok());
  EXPECT_THAT(Contents(Path("v.npy")), HasSubstr("'shape': (3,), }"));
}

// Catches: transposition, strides ignored (a Ref to a block of a larger matrix), values changed on the way.
TEST_F(NpyTest, ReadsBackWhatItWrote) {
  RowMajorMatrix matrix = RowMajorMatrix::NullaryExpr(
      301, 1007, [](Eigen::Index i, Eigen::Index j) { return (i + 1) / static_cast<double>(j + 3); });
  matrix(0, 0) = std::numeric_limits<double>::infinity();
  matrix(1, 1) = std::numeric_limits<double>::denorm_min();
  ASSERT_TRUE(WriteNpy(Path("m.npy"), matrix).ok());
  const absl::StatusOr<RowMajorMatrix> read = ReadNpyMatrix(Path("m.npy"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, matrix);

  ASSERT_TRUE(WriteNpy(Path("block.npy"), matrix.block(2, 3, 5, 7)).ok());
  EXPECT_EQ(*ReadNpyMatrix(Path("block.npy")), matrix.block(2, 3, 5, 7));
  ASSERT_TRUE(WriteNpy(Path("column_major.npy"), Eigen::MatrixXd(matrix)).ok());
  EXPECT_EQ(*ReadNpyMatrix(Path("column_major.npy")), matrix);
  ASSERT_TRUE(WriteNpy(Path("no_rows.npy"), RowMajorMatrix(0, 4)).ok());
  EXPECT_EQ(ReadNpyMatrix(Path("no_rows.npy"))->cols(), 4);

  const Eigen::VectorXd vector = matrix.row(5);
  ASSERT_TRUE(WriteNpyVector(Path("v.npy"), vector).ok());
  EXPECT_EQ(*ReadNpyVector(Path("v.npy")), vector);
  ASSERT_TRUE(WriteNpy(Path("row.npy"), vector.transpose()).ok());
  EXPECT_EQ(*ReadNpyVector(Path("row.npy")), vector);
  ASSERT_TRUE(WriteNpy(Path("column.npy"), RowMajorMatrix(vector)).ok());
  EXPECT_EQ(*ReadNpyVector(Path("column.npy")), vector);
}

// Every type, byte order and storage order of the corpus holds the same 2x3 array (up to what the type can hold).
TEST_F(NpyTest, ReadsEveryTypeAndOrder) {
  const std::string corpus = GRADORACLE_SOURCE_DIR "/tests/data/corpus/npy/";
  const RowMajorMatrix exact = (RowMajorMatrix(2, 3) << 1.5, 2, 3, 4, -5, 6).finished();
  const RowMajorMatrix whole = (RowMajorMatrix(2, 3) << 1, 2, 3, 4, -5, 6).finished();
  const RowMajorMatrix bits = (RowMajorMatrix(2, 3) << 1, 0, 1, 0, 1, 1).finished();
  const std::vector<std::pair<std::string, RowMajorMatrix>> cases = {
      {"float64", exact},
      {"float64_version_2", exact},
      {"float64_version_3", exact},
      {"float64_long_header", exact},
      {"float64_python2_shape", exact},
      {"float64_big_endian", exact},
      {"float64_fortran", exact},
      {"float32", exact},
      {"int64", whole},
      {"int32_big_endian_fortran", whole},
      {"int8", whole},
      {"uint16", whole.cwiseAbs()},
      {"bool", bits},
  };
  for (const auto& [name, expected] : cases) {
    const absl::StatusOr<RowMajorMatrix> matrix = ReadNpyMatrix(corpus + name + ".npy");
    ASSERT_TRUE(matrix.ok()) << matrix.status();
    EXPECT_EQ(*matrix, expected) << name;
  }
}

// A Fortran-order file of several blocks. Catches: an offset of column or block counted in the wrong unit.
TEST_F(NpyTest, TransposesLargeFortranFiles) {
  constexpr int64_t kRows = 5000;
  constexpr int64_t kCols = 70;
  const RowMajorMatrix matrix = RowMajorMatrix::NullaryExpr(
      kRows, kCols, [](Eigen::Index i, Eigen::Index j) { return static_cast<double>(i * kCols + j); });
  const RowMajorMatrix transposed = matrix.transpose();
  ASSERT_TRUE(WriteNpy(Path("t.npy"), transposed).ok());
  std::string bytes = Contents(Path("t.npy"));
  bytes.replace(bytes.find("False"), 5, "True ");
  bytes.replace(bytes.find("(70, 5000)"), 10, "(5000, 70)");
  std::ofstream(Path("f.npy"), std::ios::binary) << bytes;
  const absl::StatusOr<RowMajorMatrix> read = ReadNpyMatrix(Path("f.npy"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, matrix);
}

TEST_F(NpyTest, RefusesWrongDimensions) {
  ASSERT_TRUE(WriteNpy(Path("m.npy"), RowMajorMatrix::Ones(2, 3)).ok());
  ASSERT_TRUE(WriteNpyVector(Path("v.npy"), Eigen::VectorXd::Ones(3)).ok());
  EXPECT_EQ(ErrorReason(ReadNpyVector(Path("m.npy")).status()), "NPY_SHAPE");
  EXPECT_EQ(ErrorReason(ReadNpyMatrix(Path("v.npy")).status()), "NPY_SHAPE");
}

TEST_F(NpyTest, NamesThePathOfAMissingFile) {
  const absl::Status status = ReadNpyMatrix(Path("none.npy")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), StartsWith(Path("none.npy")));
  EXPECT_EQ(ErrorReason(ReadNpyMatrix(Path("")).status()), "NPY_UNREADABLE");  // a folder
}

// Every proper prefix of a file, and a file with a byte more, is an error. Catches: what xtensor itself does, zeros or
// rubbish in place of the missing numbers.
TEST_F(NpyTest, RefusesEveryTruncation) {
  ASSERT_TRUE(WriteNpy(Path("m.npy"), RowMajorMatrix::Ones(2, 3)).ok());
  const std::string bytes = Contents(Path("m.npy"));
  for (size_t length = 0; length < bytes.size(); ++length) {
    const absl::Status status = NpyReader::FromBytes(absl::string_view(bytes).substr(0, length), "m.npy").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << length;
    EXPECT_THAT(std::string(status.message()), StartsWith("m.npy: ")) << length;
  }
  EXPECT_TRUE(NpyReader::FromBytes(bytes, "m.npy").ok());
  EXPECT_EQ(ErrorReason(NpyReader::FromBytes(bytes + "x", "m.npy").status()), "NPY_SIZE");
}

TEST_F(NpyTest, WritesPieceByPieceAndKeepsWhatThereIs) {
  absl::StatusOr<NpyWriter> writer = NpyWriter::Create(Path("g.npy"));
  ASSERT_TRUE(writer.ok()) << writer.status();
  for (int i = 0; i < 10; ++i) {
    const std::array<double, 3> row = {1.0 * i, 2.0 * i, 3.0 * i};
    ASSERT_TRUE(writer->Append(row).ok());
  }
  EXPECT_FALSE(std::filesystem::exists(Path("g.npy")));
  EXPECT_EQ(ErrorReason(writer->Finish(std::array<int64_t, 2>{9, 3})), "NPY_SHAPE");
  ASSERT_TRUE(writer->Finish(std::array<int64_t, 2>{10, 3}).ok());
  const absl::StatusOr<NpyReader> reader = NpyReader::Open(Path("g.npy"));
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::array<double, 6> rows;
  ASSERT_TRUE(reader->ReadRows(4, 2, rows.data()).ok());
  EXPECT_THAT(rows, ::testing::ElementsAre(4, 8, 12, 5, 10, 15));
  EXPECT_THAT(Files(), ::testing::ElementsAre("g.npy"));
}

// Catches: an existing result lost, or rubbish left behind, when writing is given up or fails (the disk is full).
TEST_F(NpyTest, LeavesTheOldFileAloneUntilTheNewOneIsWhole) {
  ASSERT_TRUE(WriteNpy(Path("m.npy"), RowMajorMatrix::Ones(2, 3)).ok());
  const std::string before = Contents(Path("m.npy"));
  {
    absl::StatusOr<NpyWriter> writer = NpyWriter::Create(Path("m.npy"));
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE(writer->Append(std::vector<double>(1000)).ok());
    EXPECT_EQ(Files().size(), 2u);
  }
  EXPECT_THAT(Files(), ::testing::ElementsAre("m.npy"));

  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit then fails with EFBIG
  rlimit old_limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  rlimit limit = old_limit;
  limit.rlim_cur = 1000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const absl::Status status = WriteNpy(Path("m.npy"), RowMajorMatrix::Ones(200, 300));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
  EXPECT_EQ(ErrorReason(status), "NPY_UNWRITABLE") << status;
  EXPECT_THAT(Files(), ::testing::ElementsAre("m.npy"));
  EXPECT_EQ(Contents(Path("m.npy")), before);

  EXPECT_EQ(ErrorReason(WriteNpy(Path("no_folder/m.npy"), RowMajorMatrix::Ones(1, 1))), "NPY_UNWRITABLE");
}

}  // namespace
}  // namespace gradoracle
