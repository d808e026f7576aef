#include "core/huge_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace gradoracle {

namespace {

// Below this, the memory of a few huge pages too many weighs more than the speed.
constexpr size_t kWorthwhile = size_t{4} << 20;

// Outwards to whole pages. Inwards would leave the page with malloc's header without the advice, which splits the
// mapping in two; realloc could then not move it by remapping any more and would copy. To neighbours the advice is
// harmless.
void Advise(void* begin, size_t bytes, int advice) {
  if (bytes < kWorthwhile) return;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(begin) / page * page;
  const uintptr_t last = (reinterpret_cast<uintptr_t>(begin) + bytes + page - 1) / page * page;
  (void)madvise(reinterpret_cast<void*>(first), last - first, advice);
}

}  // namespace

void AdviseHugePages(void* begin, size_t bytes) { Advise(begin, bytes, MADV_HUGEPAGE); }

void CollapseHugePages(void* begin, size_t bytes) {
  constexpr int kMadvCollapse = 25;  // MADV_COLLAPSE, Linux 6.1; Debian 12's headers do not have it yet
  Advise(begin, bytes, kMadvCollapse);
}

}  // namespace gradoracle
