#include "server/owner/admin_socket.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "gtest/gtest.h"

namespace gradoracle {
namespace {

struct AdminSocketTest : testing::Test {
  AdminSocketTest() {
    std::string pattern = absl::StrCat(testing::TempDir(), "/admin.XXXXXX");
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    folder = pattern;
    socket_path = *AdminSocketPath(folder + "/l.db");
  }
  ~AdminSocketTest() override { std::filesystem::remove_all(folder); }
  std::string folder;
  std::string socket_path;
};

mode_t ModeOf(const std::string& path) {
  struct stat status = {};
  EXPECT_EQ(lstat(path.c_str(), &status), 0) << path;
  return status.st_mode & 0777;
}

TEST(AdminSocketPath, IsBesideTheFileAndShortEnough) {
  EXPECT_EQ(*AdminSocketPath("ledger.db"), "ledger.db.admin/socket");
  EXPECT_EQ(*AdminSocketPath("/var/lib/g/l"), "/var/lib/g/l.admin/socket");
  EXPECT_EQ(AdminSocketPath(std::string(94, 'x'))->size(), 107u);
  EXPECT_EQ(ErrorReason(AdminSocketPath(std::string(95, 'x')).status()), "ADMIN_SOCKET_PATH");
}

TEST_F(AdminSocketTest, TheFolderIsTheOwnersAlone) {
  const mode_t umask_before = umask(0);
  EXPECT_TRUE(MakeAdminFolder(socket_path).ok());
  umask(umask_before);
  const std::string admin = folder + "/l.db.admin";
  EXPECT_EQ(ModeOf(admin), 0700u);
  ASSERT_EQ(chmod(admin.c_str(), 0777), 0);  // left behind by somebody careless
  EXPECT_TRUE(MakeAdminFolder(socket_path).ok());
  EXPECT_EQ(ModeOf(admin), 0700u);
  RemoveAdminFolder(socket_path);
  EXPECT_FALSE(std::filesystem::exists(admin));
}

// Would catch: a link planted where the folder should be, leading somewhere that others can read.
TEST_F(AdminSocketTest, RefusesWhatIsNoFolder) {
  std::filesystem::create_directory_symlink(folder, folder + "/l.db.admin");
  EXPECT_EQ(ErrorReason(MakeAdminFolder(socket_path)), "ADMIN_SOCKET");
  std::filesystem::remove(folder + "/l.db.admin");
  std::ofstream(folder + "/l.db.admin") << "x";
  EXPECT_EQ(ErrorReason(MakeAdminFolder(socket_path)), "ADMIN_SOCKET");
}

TEST_F(AdminSocketTest, NobodyListens) {
  EXPECT_FALSE(*IsListening(socket_path));
  EXPECT_TRUE(MakeAdminFolder(socket_path).ok());
  EXPECT_FALSE(*IsListening(socket_path));
  std::ofstream(socket_path) << "not a socket";
  EXPECT_FALSE(*IsListening(socket_path));
}

TEST(SocketTarget, EncodesWhatUrisReadOtherwise) {
  EXPECT_EQ(SocketTarget("/a-b/c_d.e~/f"), "unix:/a-b/c_d.e~/f");
  EXPECT_EQ(SocketTarget("a b%#?"), "unix:a%20b%25%23%3f");
}

}  // namespace
}  // namespace gradoracle
