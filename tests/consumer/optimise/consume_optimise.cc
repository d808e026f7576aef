// Uses gradoracle::optimise and what it brings along: the inverse of a Hessian from m gradients is (m - d - 2)/(m - 1)
// H^-1, and no method needs fewer than d tau^2/(2 n excess risk) gradients.
#include <gradoracle/client/estimation/preconditioner.h>
#include <gradoracle/client/optimise/training_plan.h>

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
  return error < 1e-12 && gradoracle::FloorGradients(50, 0.5, 0.01) == 1250 ? 0 : 1;
}
