# Install rules and the package find_package(gradoracle) finds.
