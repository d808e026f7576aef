#ifndef GRADORACLE_TESTS_BENCH_RATIO_REPORTER_H_
#define GRADORACLE_TESTS_BENCH_RATIO_REPORTER_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"

namespace gradoracle {

// One line of the summary: median processor time of `numerator` over that of `denominator`, both names of benchmarks.
struct Ratio {
  std::string label;
  std::string numerator;
  std::string denominator;
  std::optional<double> goal;
  bool at_least = true;  // the goal is a lower limit, otherwise an upper one
};

// Prints benchmarks as usual and remembers the median of each, so that ratios can be printed at the end.
class RatioReporter : public benchmark::ConsoleReporter {
 public:
  RatioReporter() : benchmark::ConsoleReporter(OO_Tabular) {}
  void ReportRuns(const std::vector<Run>& runs) override;
  // "label  value  (goal)  reached or missed", one line each; ratios whose benchmarks did not run are left out.
  void PrintRatios(const std::vector<Ratio>& ratios) const;

 private:
  std::map<std::string, double> medians_;  // of processor time, as other programs may share the machine
};

// Runs all benchmarks with repetitions in random interleaving (so that a noisy neighbour meets all alike; flags of the
// command line win), prints them and then `ratios`. Returns main's exit code.
int RunWithRatios(int argc, char** argv, const std::vector<Ratio>& ratios);

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_BENCH_RATIO_REPORTER_H_
