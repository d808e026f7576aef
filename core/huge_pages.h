#ifndef GRADORACLE_CORE_HUGE_PAGES_H_
#define GRADORACLE_CORE_HUGE_PAGES_H_

#include <cstddef>

namespace gradoracle {

// Asks the kernel to back a large block (from 4 MiB) with 2 MiB pages, which makes the random gather of rows 1.2 to 1.4
// times faster. Call it before the memory is touched. Only advice: small blocks and refusals are ignored, and untouched
// memory stays unmapped.
void AdviseHugePages(void* begin, size_t bytes);

// Gathers memory that is already in use into huge pages, where the kernel knows how (Linux 6.1): for blocks that
// realloc moved, which splits their huge pages. Needs 2 MiB more at a time. Again only advice.
void CollapseHugePages(void* begin, size_t bytes);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_HUGE_PAGES_H_
