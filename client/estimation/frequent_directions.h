#ifndef GRADORACLE_CLIENT_ESTIMATION_FREQUENT_DIRECTIONS_H_
#define GRADORACLE_CLIENT_ESTIMATION_FREQUENT_DIRECTIONS_H_

#include <cstdint>

#include "Eigen/Core"
#include "core/regression_data.h"

namespace gradoracle {

// Frequent Directions: a matrix G of any number of rows remembered by at most l rows B, so that B'B stays near G'G
// [Liberty 2013; Ghashami, Liberty, Phillips, Woodruff 2016; theory 2]. O(l d) memory. Whenever more than l rows have
// come together, their squared singular values are all lowered by the (l+1)-th and the null rows dropped. The sum
// `deficit` of what was subtracted bounds the error, and is itself bounded by what no l rows could hold:
//   0 <= G'G - B'B <= deficit I,   deficit <= |G - G_k|_F^2 / (l - k) for every k < l,
// G_k the best approximation of rank k. Sketches of parts merge into one of the whole with the same bound. It is the
// caller who centres: what is sketched is the second moment of the rows given. Deterministic; not thread-safe.
class FrequentDirections {
 public:
  // Requires dimension >= 1, sketch_rows = l >= 1.
  FrequentDirections(int64_t dimension, int64_t sketch_rows);

  // Adds rows, shape (k, d), finite. Works on l rows at a time, O(l d) operations each if they come l or more together.
  void Add(const Eigen::Ref<const RowMajorMatrix>& rows);

  // Takes over what `other`, of the same dimension, has gathered.
  void Merge(const FrequentDirections& other);

  // Turns the rows so that they are orthogonal, longest first; B'B is unchanged up to rounding.
  void Orthogonalise();

  const RowMajorMatrix& rows() const { return rows_; }  // B: (at most l, d)
  double deficit() const { return deficit_; }           // see above
  double square_norm() const { return square_norm_; }   // |G|_F^2, exact up to rounding
  int64_t sketch_rows() const { return sketch_rows_; }  // l

 private:
  int64_t sketch_rows_;
  RowMajorMatrix rows_;
  double deficit_ = 0;
  double square_norm_ = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_ESTIMATION_FREQUENT_DIRECTIONS_H_
