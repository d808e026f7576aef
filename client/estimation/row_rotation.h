#ifndef GRADORACLE_CLIENT_ESTIMATION_ROW_ROTATION_H_
#define GRADORACLE_CLIENT_ESTIMATION_ROW_ROTATION_H_

#include <cstdint>

#include "Eigen/Core"
#include "core/regression_data.h"

// A matrix A (k, d) of few long rows, k << d, worked on through its Gram matrix AA' (k, k): the eigenvalues of A'A
// without a (d, d) matrix.
namespace gradoracle {

// AA' = U diag(squares) U', squares descending, those below rounding error (1e-14 k of the largest) left out.
struct GramEigen {
  Eigen::VectorXd squares;       // (r): squared singular values of A
  Eigen::MatrixXd eigenvectors;  // (k, r)
};
GramEigen DecomposeGram(const Eigen::Ref<const RowMajorMatrix>& rows);

// rows <- the orthogonal rows with the same right singular vectors and squared lengths `squares` - `subtracted`, of the
// first `kept` ones; in place, `kept` rows remain in use. gram: of the same rows; kept <= its size; subtracted less
// than or equal to every square kept.
void RotateRows(const GramEigen& gram, int64_t kept, double subtracted, Eigen::Ref<RowMajorMatrix> rows);

// Spectral norm of A' diag(weights) A for A A' = factor factor', factor (k, r), weights (k): the largest absolute
// eigenvalue of the (r, r) matrix factor' diag(weights) factor, by Lanczos, which never forms it (relative tolerance
// 1e-6; formed and decomposed should Lanczos fail).
double WeightedGramNorm(const Eigen::MatrixXd& factor, const Eigen::VectorXd& weights);

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_ROW_ROTATION_H_
