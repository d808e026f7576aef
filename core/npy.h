#ifndef GRADORACLE_CORE_NPY_H_
#define GRADORACLE_CORE_NPY_H_

#include <string>

#include "Eigen/Core"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/regression_data.h"

// Matrices and vectors in NumPy's .npy format (version 1-3), through xtensor; core/npy_file.h does it block by block.
// Reading checks that the file's size is header + product of the shape before anything is allocated (xtensor itself
// accepts truncated files). Writing is float64, C order, to a temporary name in the same folder, then renamed: a reader
// never sees half a file.
namespace gradoracle {

// Reads a 2-d array. Errors: kNotFound; kInvalidArgument (reason NPY_..., message starting with the path).
// Non-finite entries are returned as they are: whoever uses them judges.
absl::StatusOr<RowMajorMatrix> ReadNpyMatrix(const std::string& path);

// Reads a 1-d array, or a 2-d one with a single row or column.
absl::StatusOr<Eigen::VectorXd> ReadNpyVector(const std::string& path);

absl::Status WriteNpy(const std::string& path, const Eigen::Ref<const RowMajorMatrix>& matrix);
absl::Status WriteNpyVector(const std::string& path, const Eigen::Ref<const Eigen::VectorXd>& vector);

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_NPY_H_
