#ifndef GRADORACLE_TESTS_BENCH_EIGEN_PEER_H_
#define GRADORACLE_TESTS_BENCH_EIGEN_PEER_H_

#include <cstdint>

// What a user would write with Eigen, compiled as a user would (-O3 -march=native), in a library of its own: its
// instantiations of Eigen must not mix with the program's, whose flags differ.
//
// gradient = X_B'(X_B w - y_B - xi) / n by copying the batch's rows into a matrix that is kept between calls, and two
// matrix-vector products. Shapes: features (N, d) row-major, rows and noise (n), weights and gradient (d).
extern "C" [[gnu::visibility("default")]] void EigenPeerGradient(const double* features, const double* targets,
                                                                 int64_t row_count, int64_t dimension,
                                                                 const double* weights, const uint32_t* rows,
                                                                 const double* noise, int64_t batch_size,
                                                                 double* gradient);

#endif  // GRADORACLE_TESTS_BENCH_EIGEN_PEER_H_
