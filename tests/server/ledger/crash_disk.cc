#include "tests/server/ledger/crash_disk.h"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>
#include <utility>

namespace gradoracle {
namespace {

constexpr size_t kPiece = 512;

// --- between SQLite and its own file system: everything really happens there, so that it can be read again

sqlite3_vfs* real_system = nullptr;

// Followed in memory by the real file's.
struct CrashFile {
  sqlite3_file base;
  const char* path;   // as SQLite keeps it, while the file is open; nullptr: of no interest
  bool syncs_folder;  // with its next sync, as SQLite does for the first one of every log it opens
};

sqlite3_file* Real(sqlite3_file* file) {
  return reinterpret_cast<sqlite3_file*>(reinterpret_cast<char*>(file) + sizeof(CrashFile));
}
const char* Path(sqlite3_file* file) { return reinterpret_cast<CrashFile*>(file)->path; }

int Close(sqlite3_file* file) { return Real(file)->pMethods->xClose(Real(file)); }
int Read(sqlite3_file* file, void* data, int size, sqlite3_int64 offset) {
  return Real(file)->pMethods->xRead(Real(file), data, size, offset);
}
int Write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  if (Path(file) != nullptr) {
    const int result = CrashDisk::Get().Write(Path(file), data, size, offset);
    if (result != SQLITE_OK) return result;
  }
  return Real(file)->pMethods->xWrite(Real(file), data, size, offset);
}
int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  if (Path(file) != nullptr) {
    const int result = CrashDisk::Get().Truncate(Path(file), size);
    if (result != SQLITE_OK) return result;
  }
  return Real(file)->pMethods->xTruncate(Real(file), size);
}
int Sync(sqlite3_file* file, int) {
  if (Path(file) == nullptr) return SQLITE_OK;
  return CrashDisk::Get().Sync(Path(file), std::exchange(reinterpret_cast<CrashFile*>(file)->syncs_folder, false));
}
int FileSize(sqlite3_file* file, sqlite3_int64* size) { return Real(file)->pMethods->xFileSize(Real(file), size); }
int Lock(sqlite3_file* file, int level) { return Real(file)->pMethods->xLock(Real(file), level); }
int Unlock(sqlite3_file* file, int level) { return Real(file)->pMethods->xUnlock(Real(file), level); }
int CheckReservedLock(sqlite3_file* file, int* result) {
  return Real(file)->pMethods->xCheckReservedLock(Real(file), result);
}
int FileControl(sqlite3_file* file, int operation, void* argument) {
  if (operation == SQLITE_FCNTL_CHUNK_SIZE || operation == SQLITE_FCNTL_SIZE_HINT) return SQLITE_OK;
  return Real(file)->pMethods->xFileControl(Real(file), operation, argument);
}
int SectorSize(sqlite3_file* file) { return Real(file)->pMethods->xSectorSize(Real(file)); }
int DeviceCharacteristics(sqlite3_file* file) { return Real(file)->pMethods->xDeviceCharacteristics(Real(file)); }

// Version 1: without shared memory and memory maps, which a ledger does not use.
constexpr sqlite3_io_methods kMethods = {1,
                                         Close,
                                         Read,
                                         Write,
                                         Truncate,
                                         Sync,
                                         FileSize,
                                         Lock,
                                         Unlock,
                                         CheckReservedLock,
                                         FileControl,
                                         SectorSize,
                                         DeviceCharacteristics,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr};

int OpenFile(sqlite3_vfs*, const char* path, sqlite3_file* file, int flags, int* given) {
  auto* const crash = new (file) CrashFile{{nullptr}, nullptr, false};
  const bool kept = (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL)) != 0;
  if (kept && path != nullptr) {
    const int result = CrashDisk::Get().Open(path, std::filesystem::exists(path));
    if (result != SQLITE_OK) return result;
    crash->path = path;
    crash->syncs_folder = (flags & SQLITE_OPEN_MAIN_DB) == 0;
  }
  const int result = real_system->xOpen(real_system, path, Real(file), flags, given);
  if (Real(file)->pMethods != nullptr) crash->base.pMethods = &kMethods;
  return result;
}

int DeleteFile(sqlite3_vfs*, const char* path, int sync_folder) {
  const int result = CrashDisk::Get().Delete(path, sync_folder != 0);
  return result == SQLITE_OK ? real_system->xDelete(real_system, path, 0) : result;
}

// --- what a file may hold

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void Put(std::string& image, int64_t offset, const char* data, size_t size) {
  const auto at = static_cast<size_t>(offset);
  if (image.size() < at + size) image.resize(at + size);
  std::memcpy(image.data() + at, data, size);
}

}  // namespace

CrashDisk& CrashDisk::Get() {
  static CrashDisk& disk = *new CrashDisk;
  return disk;
}

CrashDisk::CrashDisk() {
  real_system = sqlite3_vfs_find(nullptr);
  static sqlite3_vfs system = *real_system;
  system.zName = "crash";
  system.szOsFile = static_cast<int>(sizeof(CrashFile)) + real_system->szOsFile;
  system.xOpen = OpenFile;
  system.xDelete = DeleteFile;
  sqlite3_vfs_register(&system, /*makeDflt=*/1);
}

void CrashDisk::SwitchOn(int64_t cut, bool lies) {
  const std::lock_guard<std::mutex> lock(mutex_);
  files_.clear();
  operations_ = 0;
  syncs_ = 0;
  cut_ = cut;
  lies_ = lies;
  off_ = false;
}

int64_t CrashDisk::operations() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return operations_;
}

bool CrashDisk::off() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return off_;
}

bool CrashDisk::in_checkpoint() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::any_of(files_.begin(), files_.end(), [](const auto& file) {
    return file.first.ends_with(".db") && !file.second.changes.empty() && !file.second.synced.empty();
  });
}

int64_t CrashDisk::syncs() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return syncs_;
}

int64_t CrashDisk::unsynced_log_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  int64_t bytes = 0;
  for (const auto& [path, file] : files_) {
    if (!path.ends_with("-wal")) continue;
    for (const Change& change : file.changes) bytes += static_cast<int64_t>(change.data.size());
  }
  return bytes;
}

void CrashDisk::Recover(const std::string& folder, std::mt19937_64& generator) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Of this cut: nothing of what was not synced, all of it, or any share.
  const double share = std::array{0.0, 1.0, 0.1, 0.5, 0.9}[generator() % 5];
  std::bernoulli_distribution survives(share);
  for (const auto& [path, file] : files_) {
    if ((!file.name_synced || file.deleted) && !survives(generator)) continue;
    std::string image = file.synced;
    for (const Change& change : file.changes) {
      if (change.truncates) {
        if (survives(generator)) image.resize(static_cast<size_t>(change.offset));
        continue;
      }
      for (size_t at = 0; at < change.data.size(); at += kPiece) {
        if (!survives(generator)) continue;
        Put(image, change.offset + static_cast<int64_t>(at), change.data.data() + at,
            std::min(kPiece, change.data.size() - at));
      }
    }
    std::ofstream(std::filesystem::path(folder) / std::filesystem::path(path).filename(), std::ios::binary) << image;
  }
}

int CrashDisk::Open(const std::string& path, bool existed) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (off_) return SQLITE_CANTOPEN;
  const auto found = files_.find(path);
  if (found == files_.end()) {
    files_[path] = {existed ? Contents(path) : "", {}, existed};
  } else if (found->second.deleted) {  // made anew; its old contents may still come back under the name
    found->second.deleted = false;
    found->second.changes.push_back({0, "", true});
  }
  return SQLITE_OK;
}

int CrashDisk::Write(const std::string& path, const void* data, int size, int64_t offset) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!Spend()) return SQLITE_IOERR_WRITE;
  files_[path].changes.push_back(
      {offset, std::string(static_cast<const char*>(data), static_cast<size_t>(size)), false});
  return SQLITE_OK;
}

int CrashDisk::Truncate(const std::string& path, int64_t size) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!Spend()) return SQLITE_IOERR_TRUNCATE;
  files_[path].changes.push_back({size, "", true});
  return SQLITE_OK;
}

int CrashDisk::Sync(const std::string& path, bool sync_folder) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!Spend()) return SQLITE_IOERR_FSYNC;
  ++syncs_;
  if (lies_) return SQLITE_OK;
  File& file = files_[path];
  for (const Change& change : file.changes) {
    if (change.truncates) {
      file.synced.resize(static_cast<size_t>(change.offset));
    } else {
      Put(file.synced, change.offset, change.data.data(), change.data.size());
    }
  }
  file.changes.clear();
  if (sync_folder) {
    std::erase_if(files_, [](const auto& other) { return other.second.deleted; });
    for (auto& [name, other] : files_) other.name_synced = true;
  }
  return SQLITE_OK;
}

int CrashDisk::Delete(const std::string& path, bool sync_folder) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!Spend()) return SQLITE_IOERR_DELETE;
  if (sync_folder && !lies_) {
    files_.erase(path);
  } else if (const auto found = files_.find(path); found != files_.end()) {
    found->second.deleted = true;
  }
  return SQLITE_OK;
}

bool CrashDisk::Spend() {
  if (!off_ && operations_ >= cut_) off_ = true;
  if (!off_) ++operations_;
  return !off_;
}

}  // namespace gradoracle
