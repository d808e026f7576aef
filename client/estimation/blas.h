#ifndef GRADORACLE_CLIENT_ESTIMATION_BLAS_H_
#define GRADORACLE_CLIENT_ESTIMATION_BLAS_H_

#include <cstdint>

#include "Eigen/Core"
#include "core/regression_data.h"

// The BLAS operations that covariances and sketches live on. OpenBLAS dispatches on the CPU at run time, so that a
// portable build reaches full speed here (Eigen at x86-64-v2 is 3-4 times slower).
namespace gradoracle {

// One triangle, diagonal included, of a symmetric (d, d) matrix stored by columns: element (i, j) is data[i + j *
// stride]. The other triangle's memory is neither read nor written, so that it may hold something else.
struct Triangle {
  double* data = nullptr;
  int64_t stride = 0;  // >= d
  bool lower = true;
};

// The lower triangle of `matrix`, which must be square and outlive the result.
Triangle LowerTriangle(Eigen::MatrixXd& matrix);

// triangle += rows' rows.  rows: shape (k, d), row-major, any row stride. k = 0 is allowed.
void AddOuterProducts(const Eigen::Ref<const RowMajorMatrix>& rows, Triangle triangle);

// triangle += factor * vector vector'.  vector: shape (d).
void AddOuterProduct(double factor, const Eigen::VectorXd& vector, Triangle triangle);

// The lower triangle of gram = rows rows'.  rows: shape (k, d), row-major, any row stride; gram: shape (k, k).
void GramMatrix(const Eigen::Ref<const RowMajorMatrix>& rows, Eigen::MatrixXd& gram);

// rows <- coefficients * rows in a panel's extra memory: coefficients (r, k) with r <= k, rows (k, d); the first r rows
// hold the result, the others nothing of use.
void CombineRows(const RowMajorMatrix& coefficients, Eigen::Ref<RowMajorMatrix> rows);

// Sets OpenBLAS to one thread below dimension 2000, where the oracle's work outweighs the covariance's by far, and to
// one per processor from there on. The setting is the process's: do not call while another thread computes.
void SetBlasThreads(int64_t dimension);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_BLAS_H_
