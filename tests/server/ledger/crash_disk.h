#ifndef GRADORACLE_TESTS_SERVER_LEDGER_CRASH_DISK_H_
#define GRADORACLE_TESTS_SERVER_LEDGER_CRASH_DISK_H_

#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <vector>

struct sqlite3_file;

namespace gradoracle {

// A disk whose power can be cut: from its first use on every SQLite connection of the process goes through it.
//
// It keeps, for each file, what is surely on the disk (as of the file's last sync) and every change since. When the
// power is cut, nothing more succeeds; Recover then writes down what such a disk may hold: all that was synced, and of
// the changes since any subset, in pieces of 512 bytes. New names and deletions are sure once the folder was synced,
// which SQLite does with the first sync of a log. Nothing is synced really, so it is fast. Thread-safe. Not modelled:
// disks that damage what was synced, room reserved ahead (it is not reserved).
class CrashDisk {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  static CrashDisk& Get();

  // Forgets every file and switches the power on. It fails at operation `cut` (writes, syncs, truncations, deletions,
  // counted from 0). A disk that `lies` acknowledges syncs and does nothing.
  void SwitchOn(int64_t cut = kNever, bool lies = false);

  int64_t operations() const;          // since SwitchOn
  bool off() const;                    // whether the power has failed
  bool in_checkpoint() const;          // whether changes of a database's main file are not synced
  int64_t syncs() const;               // since SwitchOn
  int64_t unsynced_log_bytes() const;  // of all files that are called ...-wal

  // Writes into `folder`, which exists, what the files may hold after the power has failed now.
  void Recover(const std::string& folder, std::mt19937_64& generator) const;

  // What SQLite calls, through the tables of functions in crash_disk.cc. Results are SQLite's.
  int Open(const std::string& path, bool existed);
  int Write(const std::string& path, const void* data, int size, int64_t offset);
  int Truncate(const std::string& path, int64_t size);
  int Sync(const std::string& path, bool sync_folder);
  int Delete(const std::string& path, bool sync_folder);

 private:
  struct Change {
    int64_t offset;
    std::string data;
    bool truncates;  // to `offset`
  };
  struct File {
    std::string synced;
    std::vector<Change> changes;
    bool name_synced;
    bool deleted = false;
  };

  CrashDisk();
  bool Spend();  // one operation; false when the power fails, or has failed

  mutable std::mutex mutex_;
  // All guarded by mutex_.
  std::map<std::string, File> files_;
  int64_t operations_ = 0;
  int64_t syncs_ = 0;
  int64_t cut_ = kNever;
  bool lies_ = false;
  bool off_ = false;
};

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_SERVER_LEDGER_CRASH_DISK_H_
