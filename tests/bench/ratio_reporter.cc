#include "tests/bench/ratio_reporter.h"

#include <cstdio>

namespace gradoracle {

void RatioReporter::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.aggregate_name == "median") medians_[run.run_name.str()] = run.GetAdjustedCPUTime();
  }
  ConsoleReporter::ReportRuns(runs);
}

void RatioReporter::PrintRatios(const std::vector<Ratio>& ratios) const {
  std::printf("\n%-64s %8s  goal\n", "ratio of medians", "value");
  for (const Ratio& ratio : ratios) {
    const auto numerator = medians_.find(ratio.numerator);
    const auto denominator = medians_.find(ratio.denominator);
    if (numerator == medians_.end() || denominator == medians_.end()) continue;
    const double value = numerator->second / denominator->second;
    std::printf("%-64s %8.3f", ratio.label.c_str(), value);
    if (ratio.goal.has_value()) {
      const bool reached = ratio.at_least ? value >= *ratio.goal : value <= *ratio.goal;
      std::printf("  %s %.3g %s", ratio.at_least ? ">=" : "<=", *ratio.goal, reached ? "reached" : "MISSED");
    }
    std::printf("\n");
  }
}

int RunWithRatios(int argc, char** argv, const std::vector<Ratio>& ratios) {
  std::vector<std::string> defaults = {"--benchmark_repetitions=9", "--benchmark_enable_random_interleaving=true",
                                       "--benchmark_report_aggregates_only=true", "--benchmark_min_time=0.1"};
  std::vector<char*> arguments = {argv[0]};
  for (std::string& argument : defaults) arguments.push_back(argument.data());
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  RatioReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  benchmark::Shutdown();
  reporter.PrintRatios(ratios);
  return 0;
}

}  // namespace gradoracle
