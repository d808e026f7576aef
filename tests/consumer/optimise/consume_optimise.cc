// Uses gradoracle::optimise: the inverse of a Hessian from m gradients is (m - d - 2)/(m - 1) H^-1.
#include <gradoracle/client/optimise/preconditioner.h>

#include <iostream>

int main() {
  Eigen::Matrix2d hessian;
  hessian << 2, 1, 1, 2;
  const auto inverse = gradoracle::Preconditioner::FromHessian(hessian, 101, {});
  if (!inverse.ok()) {
    std::cerr << inverse.status() << "\n";
    return 1;
  }
  const Eigen::Vector2d gradient(3, 3);
  const Eigen::Vector2d expected = Eigen::Vector2d(1, 1) * (97.0 / 100.0);
  const double error = (inverse->Apply(gradient) - expected).norm();
  std::cout << "distance from the closed form " << error << "\n";
  return error < 1e-12 ? 0 : 1;
}
