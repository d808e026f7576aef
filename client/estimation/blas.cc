#include "client/estimation/blas.h"

#include <cblas.h>

#include <algorithm>
#include <mutex>

namespace gradoracle {
namespace {

// Rows a dsyrk call takes. Of a small dimension 192 rows stay in the nearest cache while they are packed, and calls of
// 256 or 512 rows ran a fifth slower; of a large one every call streams the whole triangle, so fewer are better.
constexpr int64_t kSmallDimension = 256;
constexpr int64_t kRowsPerCallSmall = 192;
constexpr int64_t kRowsPerCallLarge = 1024;
// From here on a covariance is of the order of the oracle's own work, and threads pay. Below, OpenBLAS's waiting
// threads only take time from what receives the gradients (and from the oracle, when it shares the machine).
constexpr int64_t kThreadedDimension = 2000;
constexpr int64_t kPanelColumns = 1024;

}  // namespace

Triangle LowerTriangle(Eigen::MatrixXd& matrix) { return {matrix.data(), matrix.outerStride(), /*lower=*/true}; }

void AddOuterProducts(const Eigen::Ref<const RowMajorMatrix>& rows, Triangle triangle) {
  const int64_t rows_per_call = rows.cols() <= kSmallDimension ? kRowsPerCallSmall : kRowsPerCallLarge;
  for (int64_t begin = 0; begin < rows.rows(); begin += rows_per_call) {
    const int64_t length = std::min(rows_per_call, rows.rows() - begin);
    // Row-major (k, d) is column-major (d, k): its product with its own transpose is rows' rows.
    cblas_dsyrk(CblasColMajor, triangle.lower ? CblasLower : CblasUpper, CblasNoTrans, static_cast<int>(rows.cols()),
                static_cast<int>(length), 1.0, rows.data() + begin * rows.outerStride(),
                static_cast<int>(rows.outerStride()), 1.0, triangle.data, static_cast<int>(triangle.stride));
  }
}

void AddOuterProduct(double factor, const Eigen::VectorXd& vector, Triangle triangle) {
  cblas_dsyr(CblasColMajor, triangle.lower ? CblasLower : CblasUpper, static_cast<int>(vector.size()), factor,
             vector.data(), 1, triangle.data, static_cast<int>(triangle.stride));
}

void GramMatrix(const Eigen::Ref<const RowMajorMatrix>& rows, Eigen::MatrixXd& gram) {
  cblas_dsyrk(CblasColMajor, CblasLower, CblasTrans, static_cast<int>(rows.rows()), static_cast<int>(rows.cols()), 1.0,
              rows.data(), static_cast<int>(rows.outerStride()), 0.0, gram.data(),
              static_cast<int>(gram.outerStride()));
}

void CombineRows(const RowMajorMatrix& coefficients, Eigen::Ref<RowMajorMatrix> rows) {
  RowMajorMatrix panel(coefficients.rows(), std::min(kPanelColumns, rows.cols()));
  for (int64_t begin = 0; begin < rows.cols(); begin += kPanelColumns) {
    const int64_t width = std::min(kPanelColumns, rows.cols() - begin);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(coefficients.rows()),
                static_cast<int>(width), static_cast<int>(rows.rows()), 1.0, coefficients.data(),
                static_cast<int>(coefficients.outerStride()), rows.data() + begin, static_cast<int>(rows.outerStride()),
                0.0, panel.data(), static_cast<int>(panel.outerStride()));
    rows.block(0, begin, coefficients.rows(), width) = panel.leftCols(width);
  }
}

void SetBlasThreads(int64_t dimension) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  const int wanted = dimension >= kThreadedDimension ? openblas_get_num_procs() : 1;
  if (openblas_get_num_threads() != wanted) openblas_set_num_threads(wanted);
}

}  // namespace gradoracle
