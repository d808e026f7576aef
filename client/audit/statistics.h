#ifndef GRADORACLE_CLIENT_AUDIT_STATISTICS_H_
#define GRADORACLE_CLIENT_AUDIT_STATISTICS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/random/bit_gen_ref.h"

// What is said about repeated attacks: medians, because an attack that failed now and then has no mean.
namespace gradoracle {

struct ErrorInterval {
  double lower = 0;
  double upper = 0;
};

// The middle value, or the mean of the middle two. Requires values, none of them NaN.
double Median(std::vector<double> values);

// ErrorInterval for the median of the law that `values` were drawn from, whatever that law: [x_(k), x_(R+1-k)], k the
// largest with P(Binomial(R, 1/2) < k) <= (1 - level)/2 [order statistics]. nullopt when there is none: fewer than 6
// values at level 0.95.
std::optional<ErrorInterval> MedianInterval(std::vector<double> values, double level);

// The attack whose median is smallest. The interval is that of the minimum of medians: each attack's values are drawn
// again with replacement, 1000 times, and the percentiles of the minimum are read off (bootstrap); nullopt when the
// chosen attack has fewer than 6 values. A minimum of medians lies below the smallest true median on average: it
// overstates the leak rather than understating it.
struct SmallestMedian {
  size_t index = 0;  // into `attacks`
  double median = 0;
  std::optional<ErrorInterval> interval;
};
// attacks: values of each; those without any are passed over. nullopt when all are empty.
std::optional<SmallestMedian> FindSmallestMedian(const std::vector<std::vector<double>>& attacks, double level,
                                                 absl::BitGenRef generator);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_AUDIT_STATISTICS_H_
