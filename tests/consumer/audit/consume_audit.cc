// Uses gradoracle::audit: a gradient of one row is parallel to it, and the row is found.
#include <gradoracle/client/audit/batch_recovery.h>

#include <cmath>
#include <iostream>

int main() {
  gradoracle::RowMajorMatrix rows(3, 2);
  rows << 1, 2, -3, 1, 5, 5;
  const gradoracle::ClosestRow closest = gradoracle::FindClosestRow(rows, Eigen::Vector2d(6, -2));
  std::cout << "row " << closest.row << ", |cos| " << closest.cosine << "\n";
  return closest.row == 1 && std::abs(closest.cosine - 1) < 1e-12 ? 0 : 1;
}
