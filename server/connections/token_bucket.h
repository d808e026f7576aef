#ifndef GRADORACLE_SERVER_CONNECTIONS_TOKEN_BUCKET_H_
#define GRADORACLE_SERVER_CONNECTIONS_TOKEN_BUCKET_H_

#include <chrono>

namespace gradoracle {

// Allows `burst` events at once and `per_second` of them for ever. Measured on the steady clock: setting the wall clock
// neither fills nor empties it. Not thread-safe.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // burst, per_second >= 0. Full at `now`.
  TokenBucket(double burst, double per_second, Time now);

  // Takes a token; false when there is none. A time before the last one counts as the last one.
  bool Take(Time now);

 private:
  const double burst_;
  const double per_second_;
  double tokens_;
  Time last_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_SERVER_CONNECTIONS_TOKEN_BUCKET_H_
